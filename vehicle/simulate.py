"""`qiji run --simulate DRIVE`: a drive played in real time through a pty receiver and file cameras."""

from __future__ import annotations

import os
import threading
import tty
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from gnss.clock import Clock, SystemClock
from gnss.types import Fix, Motion
from perception.errors import SetupError
from replays.drive import Drive, open_drive
from vehicle.cameras import CameraThread
from vehicle.config import CameraSource, Config, Receiver
from vehicle.live import LiveSource
from vehicle.run import LiveOptions, LiveResult, connect_receiver, drive
from vehicle.setup import equip

_LEAD_S = 1.0


def _framed(body: str) -> bytes:
    check = 0
    for char in body.encode():
        check ^= char
    return f"${body}*{check:02X}\r\n".encode()


def _angle(value: float, width: int, signs: str) -> str:
    """NMEA ddmm.mmmmmmm,H: 7 decimals of a minute are 0.2 mm."""
    degrees, rest = divmod(abs(value), 1.0)
    minutes = f"{rest * 60:010.7f}"
    if minutes.startswith("60"):
        degrees, minutes = degrees + 1, "00.0000000"
    return f"{int(degrees):0{width}d}{minutes},{signs[value < 0]}"


def sentences(fix: Fix) -> bytes:
    """GGA, RMC and GST of one fix, as a receiver would send them; a fix without UTC cannot be sent (ValueError)."""
    if fix.utc_ns is None:
        raise ValueError("a receiver always says its time: this fix has no UTC")
    seconds, rest = divmod(fix.utc_ns, 1_000_000_000)
    when = datetime.fromtimestamp(seconds, UTC)
    clock = f"{when:%H%M%S}.{rest // 10_000_000:02d}"
    place = f"{_angle(fix.lat_deg, 2, 'NS')},{_angle(fix.lon_deg, 3, 'EW')}"
    knots = "" if fix.speed_mps is None else f"{fix.speed_mps / 0.514444:.4f}"
    course = "" if fix.course_deg is None else f"{fix.course_deg:.3f}"
    alt = 0.0 if fix.alt_m is None else fix.alt_m
    gga = (
        f"GNGGA,{clock},{place},{int(fix.quality)},{fix.satellites or 0:02d},{fix.hdop or 1.0:.1f},{alt:.3f},M,0.0,M,,"
    )
    rmc = f"GNRMC,{clock},A,{place},{knots},{course},{when:%d%m%y},,,A"
    out = _framed(gga) + _framed(rmc)
    if fix.h_acc_m is not None:
        out += _framed(f"GNGST,{clock},,,,,{fix.h_acc_m:.3f},{fix.h_acc_m:.3f},{2 * fix.h_acc_m:.3f}")
    return out


class Player:
    """A thread that does things at their stamps (ns from `start_ns`) on the real clock."""

    def __init__(self, plan: Iterator[tuple[int, Callable[[], None]]], clock: Clock, start_ns: int) -> None:
        self._plan = plan
        self._clock = clock
        self._start_ns = start_ns
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, name="player", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop and wait."""
        self._stop.set()
        self._thread.join()

    def _play(self) -> None:
        for stamp_ns, act in self._plan:
            wait_s = (stamp_ns - (self._clock.monotonic_ns() - self._start_ns)) * 1e-9
            if wait_s > 0 and self._stop.wait(wait_s):
                return
            act()


def _plan(played: Drive, shift_ns: int, master: int, source: LiveSource) -> Iterator[tuple[int, Callable[[], None]]]:
    """Fixes as sentences into the pty, odometry straight into the source, in order of time."""
    acts: list[tuple[int, int, Fix | Motion]] = [(f.stamp_ns, 0, f) for f in played.fixes]
    acts += [(m.stamp_ns, 1, m) for m in played.motion or ()]
    for stamp_ns, _, event in sorted(acts, key=lambda a: a[:2]):
        due_ns = stamp_ns + shift_ns
        if isinstance(event, Fix):
            yield due_ns, lambda fix=event: _write(master, sentences(fix))
        else:
            yield due_ns, lambda motion=event, due_ns=due_ns: source.take(replace(motion, stamp_ns=due_ns))


def _write(master: int, data: bytes) -> None:
    os.write(master, data)


def simulate(path: Path, config: Config, options: LiveOptions) -> LiveResult:
    """Play a drive with pixels in real time; returns when its cameras have ended."""
    played = open_drive(path)
    if not played.has_pixels:
        raise SetupError("has no pictures to play", file=path, remedy="simulate a drive with camera files")
    clock = SystemClock()
    cameras = tuple(_camera(played, name) for name in played.members)
    config = replace(config, vehicle=config.vehicle or played.meta.vehicle, cameras=cameras)
    kit = equip(config, detect=True)
    atlas = kit.atlas(played.city)
    master, slave = os.openpty()
    tty.setraw(slave)
    # Loading takes seconds; time starts when everything stands ready.
    start_ns = clock.monotonic_ns()
    first_ns = min(min(int(m.stamp_ns[0]) for m in played.members.values()), played.fixes[0].stamp_ns)
    shift_ns = int(_LEAD_S * 1e9) - first_ns
    source = LiveSource(clock, start_ns)
    try:
        for row in cameras:
            stamps_s = [(int(s) + shift_ns) * 1e-9 for s in played.members[row.camera.name].stamp_ns]
            source.add_camera(CameraThread(row, clock, start_ns, source.take_frame, stamps_s))
        receiver = Receiver(os.ttyname(slave))
        connect_receiver(receiver, source, clock, start_ns)
        source.add_device(Player(_plan(played, shift_ns, master, source), clock, start_ns))
        return drive(source, config.vehicle or played.meta.vehicle, config, kit, atlas, options)
    finally:
        os.close(master)
        os.close(slave)


def _camera(played: Drive, name: str) -> CameraSource:
    pictures = played.members[name].pictures
    if pictures is None:
        raise SetupError(
            f"camera {name} has no pictures", file=played.path, remedy="simulate a drive with camera files"
        )
    return CameraSource(str(pictures.source), played.members[name].model)
