"""A real gpsd between a receiver and us: the bytes come through whole. `QIJI_GPSD` names one not on the path."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import tty
from pathlib import Path

import pytest

from gnss.clock import SystemClock
from gnss.receiver import ReceiverThread
from gnss.refusal import Refusal
from gnss.stream import StreamReader
from gnss.types import Fix
from tests.gnss.gpsd_logs import FOLDER, receiver_bytes


def read(data: bytes) -> tuple[list[tuple[int | None, float, float]], dict[str, int]]:
    reader = StreamReader()
    fixes: list[Fix] = reader.feed(data, 0) + reader.flush()
    counters = {k.value: n for k, n in reader.counters.items() if n and k is not Refusal.GPSD}
    return [(fix.utc_ns, fix.lat_deg, fix.lon_deg) for fix in fixes], counters


@pytest.mark.slow
def test_a_mixed_stream_through_gpsd_gives_the_same_fixes(shared: Path) -> None:
    gpsd = os.environ.get("QIJI_GPSD") or shutil.which("gpsd", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if gpsd is None:
        pytest.skip("GPSD IS ABSENT: install it, or name it in QIJI_GPSD")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    master, slave = os.openpty()
    tty.setraw(slave)
    device, data = os.ttyname(slave), receiver_bytes(shared / FOLDER / "ublox-zed-f9r.log")
    heard, pause = bytearray(), threading.Event()
    receiver = ReceiverThread(
        f"gpsd://127.0.0.1:{port}{device}", lambda stamp_ns, piece: heard.extend(piece), SystemClock(), first_wait_s=0.1
    )
    daemon = subprocess.Popen([gpsd, "-N", "-n", "-b", "-S", str(port), device])
    try:
        receiver.start()
        for _ in range(100):
            if b'"class":"WATCH"' in heard:
                break
            pause.wait(0.1)
        pause.wait(0.5)
        for start in range(0, len(data), 200):
            os.write(master, data[start : start + 200])
            pause.wait(0.002)
        pause.wait(1.0)
    finally:
        receiver.stop()
        daemon.terminate()
        daemon.wait(10)
        os.close(slave)
        os.close(master)
    assert read(bytes(heard)) == read(data)
