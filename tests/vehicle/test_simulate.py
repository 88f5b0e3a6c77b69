"""The simulated receiver says what the drive holds, to the last digit that a position needs."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnss.clock import SystemClock
from gnss.nmea import NmeaReader
from gnss.types import Fix, FixQuality
from perception.errors import SetupError
from tests.vehicle.drives import write_drive
from vehicle.config import Config
from vehicle.simulate import Player, Pty, Simulation, sentences

UTC_NS = 1_780_000_000_120_000_000


def heard(fix: Fix) -> Fix:
    """What a receiver's reader makes of the sentences."""
    reader = NmeaReader()
    fixes = reader.feed(sentences(fix), fix.stamp_ns) + reader.flush()
    assert not {reason: n for reason, n in reader.counters.items() if n}
    assert len(fixes) == 1
    return fixes[0]


@given(
    lat=st.floats(-89.9, 89.9),
    lon=st.floats(-179.9, 179.9),
    course=st.floats(0.0, 360.0, exclude_max=True),
    speed=st.floats(0.0, 60.0),
    millis=st.integers(0, 86_399_999),
)
def test_a_fix_is_heard_as_it_was_said(lat: float, lon: float, course: float, speed: float, millis: int) -> None:
    utc_ns = UTC_NS // 86_400_000_000_000 * 86_400_000_000_000 + millis * 1_000_000
    back = heard(Fix(7, utc_ns, lat, lon, 12.3456, 0.731, speed, course, quality=FixQuality.RTK_FLOAT, satellites=9))
    assert back.lat_deg == pytest.approx(lat, abs=2e-9)
    assert back.lon_deg == pytest.approx(lon, abs=2e-9)
    assert back.speed_mps == pytest.approx(speed, abs=1e-4)
    assert back.course_deg is not None
    assert abs((back.course_deg - course + 180.0) % 360.0 - 180.0) < 1e-3
    assert (back.utc_ns, back.stamp_ns, back.quality, back.satellites) == (utc_ns, 7, FixQuality.RTK_FLOAT, 9)
    assert back.h_acc_m == pytest.approx(0.731)


def test_what_a_fix_does_not_say_stays_unsaid() -> None:
    back = heard(Fix(7, UTC_NS, -33.5, -70.25))
    assert dataclasses.replace(back, lat_deg=0.0, lon_deg=0.0) == Fix(7, UTC_NS, 0.0, 0.0)


def test_minutes_that_round_up_to_sixty() -> None:
    assert heard(Fix(0, UTC_NS, 30.0 - 1e-12, 120.0 - 1e-12)).lat_deg == pytest.approx(30.0, abs=1e-9)


def test_a_receiver_nobody_reads_does_not_hold_the_player_up() -> None:
    pty = Pty()
    clock = SystemClock()
    plan = iter([(0, lambda: pty.write(b"x" * 1000)) for _ in range(200)])
    player = Player(plan, clock, clock.monotonic_ns())
    player.join()
    player.stop()
    assert pty.lost > 100_000
    pty.close()
    assert "player" not in {t.name for t in threading.enumerate()}


def test_a_drive_without_pictures_or_utc_cannot_be_played(recorded: Path, card: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no pictures to play"):
        Simulation.prepare(recorded, Config(card=card))
    timeless = write_drive(tmp_path / "timeless", pixels=True, utc=False)
    with pytest.raises(SetupError, match="fixes without UTC"):
        Simulation.prepare(timeless, Config(card=card))
