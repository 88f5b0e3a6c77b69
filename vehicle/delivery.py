"""The sender's thread beside a run; without a platform everything stays in the outbox."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from gnss.clock import SystemClock
from perception.errors import SetupError
from uplink.link import LinkPolicy, ServerClock, on_mobile_network
from uplink.sender import Sender
from uplink.store import SqliteStore
from uplink.transport import HttpTransport, Signer

KEYS = {"client_cert", "client_key", "ca", "sign", "metered", "max_kbit_s", "fleet_memory"}


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """How the car meets its platform: mTLS files, signed requests, what a metered link may carry.

    `ca` None: the system's authorities. `metered` None: judged by the name of the interface of the default route.
    """

    client_cert: Path | None = None
    client_key: Path | None = None
    ca: Path | None = None
    sign: bool = True
    metered: bool | None = False
    max_kbit_s: float | None = None
    fleet_memory: bool = False

    def session(self) -> requests.Session:
        """A session that proves who the car is and whom it trusts."""
        session = requests.Session()
        if self.client_cert is not None:
            session.cert = (
                str(self.client_cert)
                if self.client_key is None
                else (
                    str(self.client_cert),
                    str(self.client_key),
                )
            )
        if self.ca is not None:
            session.verify = str(self.ca)
        return session

    def policy(self) -> LinkPolicy:
        """What the link may carry."""
        rate = None if self.max_kbit_s is None else self.max_kbit_s * 125.0
        metered = self.metered
        if metered is None:
            return LinkPolicy(rate, on_mobile_network)
        return LinkPolicy(rate, lambda: metered)


def delivery_settings(table: Mapping[str, Any], file: Path) -> DeliverySettings:
    """Settings of a car's [platform] table, as far as they are in `KEYS`; raises SetupError naming key and remedy."""
    fields: dict[str, Any] = {}
    for key in ("client_cert", "client_key", "ca"):
        if key in table:
            fields[key] = path = file.parent / str(table[key])
            if not path.is_file():
                raise SetupError(f"{key}: there is no {path}", file=file, remedy="name a file in PEM")
    for key in ("sign", "fleet_memory"):
        if key in table:
            fields[key] = _boolean(table, key, file)
    if table.get("metered") == "auto":
        fields["metered"] = None
    elif "metered" in table:
        fields["metered"] = _boolean(table, "metered", file)
    if "max_kbit_s" in table:
        rate = table["max_kbit_s"]
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not math.isfinite(rate) or rate <= 0:
            raise SetupError(f"max_kbit_s is {rate!r}", file=file, remedy="give kilobits per second above 0")
        fields["max_kbit_s"] = float(rate)
    if "client_key" in fields and "client_cert" not in fields:
        raise SetupError("client_key without client_cert", file=file, remedy="name the certificate too")
    return DeliverySettings(**fields)


def _boolean(table: Mapping[str, Any], key: str, file: Path) -> bool:
    value = table[key]
    if not isinstance(value, bool):
        raise SetupError(f"{key} is {value!r}", file=file, remedy=f"write {key} = true or {key} = false")
    return value


class Delivery:
    """A context manager: the thread runs from entry until `finish`, or until the block ends by an error."""

    def __init__(
        self,
        store: SqliteStore,
        platform: str | None,
        timeout_s: float = 20.0,
        settings: DeliverySettings | None = None,
    ) -> None:
        """Raises SetupError when `platform` is no http(s) address; None: nothing is sent."""
        self.store = store
        self._stop = threading.Event()
        self._sender: Sender | None = None
        self._thread: threading.Thread | None = None
        settings = settings or DeliverySettings()
        if platform is not None:
            # Jitter spreads a fleet's retries over time; it needs no secret and no repeatability.
            rng = random.Random()  # noqa: S311
            clock = SystemClock()
            server_clock = ServerClock(clock)
            signer = Signer(store.key, server_clock.now_s) if settings.sign else None
            transport = HttpTransport(
                platform, settings.session(), connect_s=timeout_s, stall_s=timeout_s, signer=signer
            )
            self._sender = Sender(
                store,
                transport,
                clock,
                rng,
                policy=settings.policy(),
                server_clock=server_clock,
                fleet=settings.fleet_memory,
            )

    def __enter__(self) -> Delivery:
        if self._sender is not None:
            self._thread = threading.Thread(target=self._sender.run, args=(self._stop,), name="sender", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._join()

    @property
    def unsent(self) -> int:
        """Events and pictures that still wait for a platform."""
        backlog = self.store.outbox.backlog()
        return backlog.events + backlog.blobs

    def finish(self, drain_s: float) -> int:
        """Stop the thread, deliver what is left within `drain_s`; returns how much stays in the outbox."""
        self._join()
        if self._sender is not None:
            self._sender.drain(drain_s)
        return self.unsent

    def _join(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
