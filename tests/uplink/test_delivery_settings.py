"""How a car meets its platform: mTLS files, signatures, meters; each mistake is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gnss.clock import ManualClock
from perception.errors import SetupError
from tests.uplink.builders import opened
from uplink.outbox import LOWEST
from uplink.platform.serve import LocalPlatform
from uplink.store import SqliteStore
from vehicle.delivery import KEYS, Delivery, DeliverySettings, delivery_settings


def read(folder: Path, **table: Any) -> DeliverySettings:
    return delivery_settings(table, folder / "car.toml")


def test_files_are_relative_to_the_configuration_and_must_be_there(tmp_path: Path) -> None:
    for name in ("car.crt", "car.key", "ca.crt"):
        (tmp_path / name).write_text("x")
    settings = read(tmp_path, client_cert="car.crt", client_key="car.key", ca="ca.crt")
    session = settings.session()
    assert session.cert == (str(tmp_path / "car.crt"), str(tmp_path / "car.key"))
    assert session.verify == str(tmp_path / "ca.crt")
    assert read(tmp_path).session().verify is True
    with pytest.raises(SetupError, match=r"client_cert: there is no .*none\.crt"):
        read(tmp_path, client_cert="none.crt")
    with pytest.raises(SetupError, match="client_key without client_cert"):
        read(tmp_path, client_key="car.key")


@pytest.mark.parametrize(
    ("key", "value"), [("sign", 1), ("metered", "yes"), ("max_kbit_s", 0), ("max_kbit_s", True), ("fleet_memory", "x")]
)
def test_nonsense_is_named(tmp_path: Path, key: str, value: object) -> None:
    assert key in KEYS
    with pytest.raises(SetupError, match=key):
        read(tmp_path, **{key: value})


def test_a_metered_link_and_a_limit_become_a_policy(tmp_path: Path) -> None:
    policy = read(tmp_path, metered=True, max_kbit_s=800).policy()
    assert (policy.bytes_per_s, policy.lowest()) == (100_000.0, (1, 0))
    assert read(tmp_path).policy().lowest() == (LOWEST, LOWEST)
    assert read(tmp_path, metered="auto").metered is None


def test_the_thread_delivers_signed(tmp_path: Path, platform: LocalPlatform, clock: ManualClock) -> None:
    with (
        SqliteStore(tmp_path / "s" / "store.sqlite", "car-1", clock) as store,
        Delivery(store, platform.url, 5.0) as delivery,
    ):
        store.commit([opened(1)])
        assert delivery.finish(10.0) == 0
