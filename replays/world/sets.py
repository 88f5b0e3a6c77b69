"""Named sets of drives: a generator's world, the rides through it, and the folders that `replay` reads."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from perception.errors import DriveError
from perception.types import Seen
from replays.atomic import new_folder
from replays.drive_toml import utc_iso
from replays.world.card import CARD, NoiseCard
from replays.world.nasty import NASTY, Nasty
from replays.world.ride import Ride
from replays.world.scene import World
from replays.world.sense import SimulatedDrive, sense
from replays.world.streets import living, rides, street
from replays.world.traffic import traffic
from replays.world.write import visible, write_drive

WORLDS = ("traffic", "street", "living", *NASTY)
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a set is driven; nasty worlds have their own rides and take only the cameras."""

    passes: int = 3
    vehicles: int = 2
    days: int = 2
    cameras: tuple[str, ...] = ("front",)


@dataclass(frozen=True, slots=True)
class Written:
    """One drive of a set: its folder's name, who drove it when, and counts of its frames and boxes."""

    name: str
    vehicle: str
    start_utc: str
    duration_s: float
    frames: int
    boxes: int
    clutter: int


@dataclass(frozen=True, slots=True)
class SetWritten:
    """A set on disk: its world, card, drives, and how many things and visible problems it has by class."""

    world: World
    card: NoiseCard
    drives: tuple[Written, ...]
    problems: dict[str, int]


def planned(name: str, seed: int, plan: Plan) -> Nasty:
    """World, rides and card of a generator; raises DriveError for an unknown name or impossible numbers."""
    if name not in WORLDS:
        raise DriveError(f"there is no world {name!r}", remedy=f"choose one of {', '.join(WORLDS)}")
    if min(plan.passes, plan.vehicles, plan.days) < 1 or plan.days > plan.passes:
        remedy = "give at least one of each, and no more days than passes"
        raise DriveError(f"{plan.passes} passes of {plan.vehicles} vehicles on {plan.days} days", remedy=remedy)
    if name in NASTY:
        world, found, card = NASTY[name](seed)
        return world, [replace(ride, cameras=plan.cameras) for ride in found], card
    if name == "traffic":
        world = traffic(seed, plan.days, -(-plan.passes // plan.days))
    elif name == "living":
        world = living(seed, plan.passes, plan.days)
    else:
        world = street(seed)
    return world, rides(world, plan.passes, plan.vehicles, plan.cameras, plan.days), CARD


def only(world: World, classes: Collection[str]) -> World:
    """The world without what a detector of these classes does not know."""
    return replace(world, things=tuple(t for t in world.things if t.class_name in classes))


def write_set(world: World, found: list[Ride], card: NoiseCard, seed: int, out: Path, tell: Tell) -> SetWritten:
    """Sense all rides and write a drive folder for each into `out`, which must be new or empty (DriveError)."""
    drives: list[SimulatedDrive] = []
    for number, ride in enumerate(found):
        tell("simulate", number, len(found))
        drives.append(sense(world, ride, card, seed))
    tell("simulate", len(found), len(found))
    seen = frozenset[str]().union(*(visible(drive) for drive in drives))
    with new_folder(out, "drive.toml", "empty folder") as part:
        for drive in drives:
            write_drive(drive, world, part / drive.name, seen)
    problems: dict[str, int] = {}
    for thing in world.things:
        if thing.kind is not None and thing.id in seen:
            problems[thing.class_name] = problems.get(thing.class_name, 0) + 1
    rows = tuple(_row(drive, ride) for drive, ride in zip(drives, found, strict=True))
    return SetWritten(world, card, rows, dict(sorted(problems.items())))


def _row(drive: SimulatedDrive, ride: Ride) -> Written:
    frames = [event for event in drive.events if isinstance(event, Seen)]
    names = [name for labels in drive.labels.values() for name in labels]
    start = utc_iso(drive.start_utc_ns)
    return Written(
        drive.name, drive.vehicle, start, round(ride.duration_s, 1), len(frames), len(names), names.count(None)
    )
