"""A receiver of 25 Hz on a pseudo terminal for ten minutes of simulated time: unplugged, garbled, at changing rates."""

from __future__ import annotations

import os
import random
import termios
import threading
import tty
from collections.abc import Callable
from pathlib import Path

import pytest

from gnss.baud import RATES
from gnss.clock import ManualClock
from gnss.fixes import FixStream
from gnss.framing import FrameKind, Framer
from gnss.nmea_sentence import NmeaError, parse_sentence
from gnss.receiver import ReceiverThread
from gnss.types import Fix
from tests.gnss.messages import line, pvt

HZ = 25
EPOCHS = 10 * 60 * HZ
_SPEEDS = {getattr(termios, f"B{rate}"): rate for rate in RATES}


class Sink:
    """What the thread hands on: stamps, bytes and fixes."""

    def __init__(self) -> None:
        self.stream = FixStream()
        self.fixes: list[Fix] = []
        self.stamps: list[int] = []
        self.data = bytearray()
        self._changed = threading.Condition()

    def take(self, stamp_ns: int, data: bytes) -> None:
        with self._changed:
            self.data += data
            self.stamps.append(stamp_ns)
            self.fixes += self.stream.feed(data, stamp_ns)
            self._changed.notify_all()

    def wait(self, size: int) -> None:
        """Until so many bytes have come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.data) >= size, timeout=20), "bytes were lost"


class PluggedReceiver:
    """A receiver behind `path`; what it says at another rate than the port's is garbage, as on a real line."""

    def __init__(self, path: Path, rng: random.Random) -> None:
        self.baud = RATES[0]
        self.sent = 0
        self._path, self._rng = path, rng
        self._ends: tuple[int, int] | None = None
        self.plug()

    def plug(self) -> None:
        master, slave = os.openpty()
        tty.setraw(slave)
        self._ends = master, slave
        link = self._path.with_suffix(".new")
        link.symlink_to(os.ttyname(slave))
        link.rename(self._path)

    def unplug(self) -> None:
        assert self._ends is not None
        for end in self._ends:
            os.close(end)
        self._ends = None

    def say(self, data: bytes) -> bool:
        """Send; False when it went out as garbage."""
        assert self._ends is not None
        right = _SPEEDS.get(termios.tcgetattr(self._ends[1])[4]) == self.baud
        sent = data if right else self._rng.randbytes(len(data))
        while sent:
            sent = sent[os.write(self._ends[0], sent) :]
        self.sent += len(data)
        return right


def epoch(number: int) -> list[bytes]:
    """GGA, RMC and GST of one epoch of 40 ms; every fifth in UBX besides."""
    second, part = divmod(number, HZ)
    clock = f"02{second // 60:02d}{second % 60:02d}.{part * 4:02d}"
    place = "3725.58362,N,12205.61915,W"
    said = [
        line(f"GNGGA,{clock},{place},4,12,0.76,4.4,M,-30.0,M,0.0,2000"),
        line(f"GNRMC,{clock},A,{place},10.0,65.1,070220,,,R"),
        line(f"GNGST,{clock},1.2,,,,0.3,0.4,0.5"),
    ]
    if number % 5 == 0:
        said.append(pvt(second % 60, minute=second // 60, nano=part * 40_000_000))
    return said


def sentences(data: bytes) -> list[bytes]:
    """The valid NMEA sentences of GGA, RMC and GST in `data`, in order."""
    found = []
    for kind, raw, _ in Framer().feed(data, 0):
        try:
            if kind is FrameKind.NMEA and parse_sentence(raw).kind in ("GGA", "RMC", "GST"):
                found.append(raw + b"\r\n")
        except NmeaError:
            continue
    return found


def until(done: Callable[[], bool]) -> None:
    """Wait for the reader's thread."""
    for _ in range(20_000):
        if done():
            return
        threading.Event().wait(0.001)
    raise AssertionError("the reader's thread did not follow")


class Drive:
    """Ten minutes of a receiver's life. `good`: sentences that left whole at the port's own rate; `whole`: epochs of
    which GGA and RMC did."""

    def __init__(self, path: Path, seed: int) -> None:
        self.rng, self.clock, self.sink = random.Random(seed), ManualClock(monotonic_ns=10**9), Sink()
        self.device = PluggedReceiver(path, self.rng)
        self.thread = ReceiverThread(str(path), self.sink.take, self.clock, first_wait_s=0.002)
        self.good: list[bytes] = []
        self.whole: list[int] = []
        self.unplugged = self.changed = 0

    def run(self) -> None:
        self.thread.start()
        away = 0
        for number in range(EPOCHS):
            self.clock.advance(1 / HZ)
            if away:
                away -= 1
                if not away:
                    self._plug()
            elif self.rng.random() < 1 / 800:
                away = self._unplug(number)
            else:
                self._epoch(number)
        self.thread.stop()

    def _unplug(self, number: int) -> int:
        """In the middle of a sentence; returns for how many epochs."""
        self.device.say(b"".join(epoch(number))[: self.rng.randrange(1, 240)])
        self.device.unplug()
        until(lambda: not self.thread.stats.connected)
        self.device.sent = len(self.sink.data)  # what was on the wire may be lost
        self.unplugged += 1
        return self.rng.randrange(50, 300)

    def _plug(self) -> None:
        opened = self.thread.stats.opened
        self.device.plug()
        until(lambda: self.thread.stats.opened > opened)

    def _epoch(self, number: int) -> None:
        rng = self.rng
        if rng.random() < 1 / 2500:
            self.device.baud = rng.choice(RATES)
            self.changed += 1
        if rng.random() < 0.02:
            self.device.say(rng.randbytes(rng.randrange(1, 300)).replace(b"$", b"") + b"\r\n")
        left = 0
        for said in epoch(number):
            cut = rng.randrange(len(said)) if rng.random() < 0.05 else len(said)
            if self.device.say(said[:cut]) & self.device.say(said[cut:]) and said.startswith(b"$"):
                self.good.append(said)
                left += said[3:6] in (b"GGA", b"RMC")
        if left == 2:
            self.whole.append(number)
        self.sink.wait(self.device.sent)


@pytest.mark.slow
def test_all_good_sentences_arrive_once_and_in_order(tmp_path: Path) -> None:
    drive = Drive(tmp_path / "ttyGNSS", 5)
    drive.run()
    sink, stats, good = drive.sink, drive.thread.stats, set(drive.good)
    assert drive.unplugged >= 5
    assert drive.changed >= 3
    assert len(drive.good) >= 20_000
    assert stats.failures >= drive.unplugged
    assert stats.baud_changes > 0
    assert [said for said in sentences(bytes(sink.data)) if said in good] == drive.good
    assert sink.stamps == sorted(sink.stamps)
    fixes = sink.fixes + sink.stream.flush()
    epochs = [round((fix.utc_ns or 0) % (3600 * 10**9) * HZ * 1e-9) for fix in fixes]
    assert epochs == sorted(set(epochs))
    assert set(drive.whole) <= set(epochs)
    assert [fix.stamp_ns for fix in fixes] == sorted({fix.stamp_ns for fix in fixes})
