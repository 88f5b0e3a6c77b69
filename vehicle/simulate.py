"""`qiji run --simulate DRIVE`: a drive played in real time through a pty receiver and file cameras."""

from __future__ import annotations

import os
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from gnss.clock import Clock, SystemClock
from gnss.nmea_sentence import KNOT_MPS
from gnss.types import Fix, Motion
from perception.errors import SetupError
from perception.types import Frame
from replays.drive import CameraMember, Drive, Pictures, open_drive
from vehicle.cameras import CameraThread
from vehicle.config import CameraSource, Config, Receiver
from vehicle.live import LiveSource
from vehicle.receiver import LiveReceiver
from vehicle.run import LINGER_S, LiveOptions, LiveResult, drive
from vehicle.setup import Equipment, equip
from vehicle.signals import Stopper

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
    clock = f"{when:%H%M%S}.{rest // 1_000_000:03d}"
    place = f"{_angle(fix.lat_deg, 2, 'NS')},{_angle(fix.lon_deg, 3, 'EW')}"
    knots = "" if fix.speed_mps is None else f"{fix.speed_mps / KNOT_MPS:.4f}"
    course = "" if fix.course_deg is None else f"{round(fix.course_deg, 3) % 360.0:.3f}"
    satellites = "" if fix.satellites is None else f"{fix.satellites:02d}"
    hdop = "" if fix.hdop is None else f"{fix.hdop:.2f}"
    alt = "" if fix.alt_m is None else f"{fix.alt_m:.3f}"
    gga = f"GNGGA,{clock},{place},{int(fix.quality)},{satellites},{hdop},{alt},M,0.0,M,,"
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
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="player", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop and wait."""
        self._stop.set()
        self.join()

    def join(self) -> None:
        """Wait until everything is done."""
        self._thread.join()

    def check(self) -> None:
        """Raise what ended the thread too early."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._play()
        except BaseException as error:  # handed over whole: the source raises it where the run can end by it
            self._error = error

    def _play(self) -> None:
        for stamp_ns, act in self._plan:
            wait_s = (stamp_ns - (self._clock.monotonic_ns() - self._start_ns)) * 1e-9
            if (wait_s > 0 and self._stop.wait(wait_s)) or self._stop.is_set():
                return
            act()


class Pty:
    """A pseudo terminal: `name` is the port to open, `write` speaks as the receiver behind it would."""

    def __init__(self) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        # A receiver goes on talking when nobody reads: a full line must not hold it up.
        os.set_blocking(self._master, False)
        self.name = os.ttyname(self._slave)
        self.lost = 0

    def write(self, data: bytes) -> None:
        """Send; what finds no reader is lost and counted in bytes."""
        try:
            sent = os.write(self._master, data)
        except BlockingIOError:
            sent = 0
        self.lost += len(data) - sent

    def close(self) -> None:
        """Unplug."""
        for end in (self._master, self._slave):
            os.close(end)


def _plan(played: Drive, shift_ns: int, pty: Pty, source: LiveSource) -> Iterator[tuple[int, Callable[[], None]]]:
    """Fixes as sentences into the pty, odometry straight into the source, in order of time."""
    acts: list[tuple[int, int, Fix | Motion]] = [(f.stamp_ns, 0, f) for f in played.fixes]
    acts += [(m.stamp_ns, 1, m) for m in played.motion or ()]
    for stamp_ns, _, event in sorted(acts, key=lambda a: a[:2]):
        due_ns = stamp_ns + shift_ns
        if isinstance(event, Fix):
            yield due_ns, partial(pty.write, sentences(event))
        else:
            yield due_ns, partial(source.take, replace(event, stamp_ns=due_ns))


def _frames(member: CameraMember, pictures: Pictures, shift_ns: int) -> Iterator[Frame]:
    """A camera's pictures with the stamps they had, moved to this run's time."""
    for row, image in pictures.read():
        yield Frame(int(member.stamp_ns[row]) + shift_ns, member.model.name, int(member.index[row]), image)


def _playable(path: Path) -> Drive:
    played = open_drive(path)
    for name, member in played.members.items():
        if member.pictures is None:
            remedy = "simulate a drive with camera files"
            raise SetupError(f"camera {name} has no pictures to play", file=path, remedy=remedy)
    if any(fix.utc_ns is None for fix in played.fixes):
        remedy = "fill column utc_ns: a receiver always says its time"
        raise SetupError("has fixes without UTC", file=played.gnss.file, remedy=remedy)
    return played


def simulated(config: Config, played: Drive, port: str) -> Config:
    """The configuration of the car that `played` was: its cameras, antenna and city behind this receiver's port."""
    x_m, y_m, z_m = played.meta.antenna_m
    cameras = tuple(CameraSource(str(played.path / name), m.model) for name, m in played.members.items())
    receiver = Receiver(port, x_m=x_m, y_m=y_m, z_m=z_m)
    vehicle, city = config.vehicle or played.meta.vehicle, played.city or config.city
    return replace(config, vehicle=vehicle, cameras=cameras, receiver=receiver, city=city)


@dataclass(frozen=True, slots=True)
class Simulation:
    """A drive that can be played and what it needs; made before anything is written."""

    played: Drive
    kit: Equipment

    @staticmethod
    def prepare(path: Path, config: Config) -> Simulation:
        """Open the drive and load the model; raises SetupError when one of them cannot be used."""
        return Simulation(_playable(path), equip(config, detect=True))


def simulate(simulation: Simulation, config: Config, options: LiveOptions, stopper: Stopper) -> LiveResult:
    """Play a drive in real time; returns when its cameras have ended, or when stopped."""
    played = simulation.played
    clock = SystemClock()
    with ExitStack() as stack:
        pty = Pty()
        stack.callback(pty.close)
        config = simulated(config, played, pty.name)
        start_ns = clock.monotonic_ns()
        first_ns = min(min(int(m.stamp_ns[0]) for m in played.members.values()), played.fixes[0].stamp_ns)
        shift_ns = int(_LEAD_S * 1e9) - first_ns
        source = LiveSource(clock, start_ns, linger_s=LINGER_S)
        stack.callback(source.close)
        for row, member in zip(config.cameras, played.members.values(), strict=True):
            if member.pictures is not None:
                frames = _frames(member, member.pictures, shift_ns)
                source.add_camera(CameraThread(row, clock, start_ns, source.take_frame, frames))
        receiver = LiveReceiver(config.receiver or Receiver(pty.name), source, clock, start_ns)
        source.add_device(receiver.stop, receiver.check)
        player = Player(_plan(played, shift_ns, pty, source), clock, start_ns)
        source.add_device(player.stop, player.check)
        result = drive(source, config, simulation.kit, options, stopper, receiver)
        return (
            replace(result, counts={**result.counts, "receiver: bytes nobody read": pty.lost}) if pty.lost else result
        )
