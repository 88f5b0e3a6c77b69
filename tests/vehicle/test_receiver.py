"""The receiver part of a car's configuration, and the receiver as a device of the live source."""

from __future__ import annotations

import datetime
import socket
import threading
from pathlib import Path

import pytest

from gnss.clock import SystemClock
from gnss.types import Fix
from perception.errors import SetupError
from tests.gnss.messages import gga, line, pvt, rmc
from vehicle.config import Receiver, load_config
from vehicle.live import LiveSource
from vehicle.receiver import LiveReceiver


def configured(tmp_path: Path, text: str) -> Receiver:
    file = tmp_path / "car.toml"
    file.write_text(f"version = 1\n[receiver]\n{text}\n")
    receiver = load_config(file).receiver
    assert receiver is not None
    return receiver


def test_receiver_of_a_configuration(tmp_path: Path) -> None:
    assert configured(tmp_path, 'port = "/dev/ttyUSB0"') == Receiver("/dev/ttyUSB0", None)
    assert configured(tmp_path, 'port = "tcp://10.0.0.7:2101"\nbaud = "auto"').baud is None
    assert configured(tmp_path, 'port = "gpsd://localhost"\nbaud = 9600\nlatency_s = 0.08').baud == 9600


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('port = "tcp://host"', r"car\.toml:3.*tcp://host.*Remedy"),
        ('port = "/dev/ttyS0"\nbaud = "fast"', r"car\.toml:4.*baud is 'fast'.*Remedy"),
        ('port = "/dev/ttyS0"\nbaud = true', "baud is True"),
        ('port = "/dev/ttyS0"\nbaud = 0', "baud is 0"),
        ("baud = 9600", "lacks port"),
        ('port = "/dev/ttyS0"\nbauds = 9600', "unknown key 'bauds'"),
    ],
)
def test_mistakes_in_it_are_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SetupError, match=said):
        configured(tmp_path, text)


def test_bytes_become_fixes_and_are_tapped(tmp_path: Path) -> None:
    """Over TCP: NMEA and UBX, a receiver that is 1024 weeks behind, and its counters at the end."""
    said = rmc(date="100407") + gga() + line("GPGSV,1,1,00") + pvt(18, year=2026, month=11, day=24) + gga("021419.00")
    clock, done, raw = SystemClock(), threading.Event(), bytearray()
    start_ns = clock.monotonic_ns()
    source = LiveSource(clock, start_ns)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        device = LiveReceiver(Receiver(f"tcp://127.0.0.1:{port}"), source, clock, start_ns, datetime.date(2026, 1, 1))
        device.tap = lambda stamp_ns, data: raw.extend(data)
        peer = listener.accept()[0]
        with peer:
            peer.sendall(said)
            for _ in range(5000):
                if len(raw) == len(said):
                    break
                done.wait(0.001)
            device.check()
            device.stop()
    source.stop()
    fixes = [item for item in source if isinstance(item, Fix)]
    first = datetime.datetime(2026, 11, 24, 2, 14, 17, tzinfo=datetime.UTC).timestamp()
    assert [((fix.utc_ns or 0) * 1e-9 - first) for fix in fixes] == pytest.approx([0.0, 1.0, 2.0], abs=1e-3)
    assert [fix.stamp_ns for fix in fixes] == sorted({fix.stamp_ns for fix in fixes})
    assert bytes(raw) == said
    assert source.counts["receiver: date moved by 1024 weeks"] == 1
    assert source.counts["receiver: sentence not used"] == 1
    with pytest.raises(RuntimeError, match="thread ended"):
        device.check()
