"""`qiji city shift RUN... --city CITY`: the register against all that was seen; for those who keep the register."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gnss.atlas import Atlas
from gnss.city import Component
from gnss.geodesy import CHI2_95_2D
from gnss.types import Array
from perception.anchors import REGISTER_CLASSES
from perception.catalogue import load_catalogue
from perception.errors import SetupError
from perception.register import RegisterParams, SeenThing, Shift, compare_shift
from vehicle.config import MODELS
from vehicle.setup import usable_atlas
from vehicle.terminal import print_json

COVERS = REGISTER_CLASSES["manhole_closed"]
CODES = {
    **REGISTER_CLASSES, "manhole_open": COVERS, "manhole_broken": COVERS, "garbage_bin": frozenset({"03005"}),
    "garbage_bin_overflow": frozenset({"03005"}), "bin_damaged": frozenset({"03005"}),
    "lamp_damaged": frozenset({"01037"}), "sign_damaged": frozenset({"02010"}),
}  # fmt: skip
"""Component types that a class may be. A class of `pole` may be a lamp too, which many registers list apart."""

LOOKED_M = 15.0
LEAST_AROUND = 2
MOST_RANGE_M = 20.0


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    v = verbs.add_parser("shift", help="what runs saw against the register: not seen, and not in the register")
    v.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders of one shift")
    v.add_argument("--city", type=Path, required=True, metavar="CITY", help="city.toml or .atlas")
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Compare and tell."""
    atlas = usable_atlas(arguments.city, load_catalogue(MODELS))
    things = [thing for run in arguments.runs for thing in seen_things(run)]
    register = looked_at(atlas, things)
    told = compare_shift(register, things, RegisterParams())
    if arguments.json:
        print_json(as_dict(told, register))
    else:
        print("\n".join(lines(told)))
    return 0


def seen_things(run: Path) -> list[SeenThing]:
    """The landmarks of a run that the register may list and that were seen from near enough."""
    file = run / "landmarks.geojson"
    try:
        features = json.loads(file.read_text(encoding="utf-8"))["features"]
        rows = [(f["geometry"]["coordinates"], f["properties"]) for f in features]
        return [
            SeenThing(f"{run.name}:{p['id']}", CODES[p["class"]], lat, lon, covariance(p))
            for (lon, lat, *_), p in rows
            if p["class"] in CODES and p["closest_range_m"] <= MOST_RANGE_M
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SetupError(f"cannot be read ({error!r})", file=file, remedy="give a run folder of qiji replay") from error


def covariance(properties: dict[str, Any]) -> Array:
    """(2, 2) east/north in m2 of a 95 % ellipse (semi axes, azimuth of the major one from north)."""
    turn = math.radians(properties["azimuth_deg"])
    major = np.array([math.sin(turn), math.cos(turn)])
    minor = np.array([-math.cos(turn), math.sin(turn)])
    big, small = properties["semi_major_m"] ** 2 / CHI2_95_2D, properties["semi_minor_m"] ** 2 / CHI2_95_2D
    result: Array = big * np.outer(major, major) + max(small, 1e-6) * np.outer(minor, minor)
    return result


def looked_at(atlas: Atlas, things: list[SeenThing]) -> list[Component]:
    """Components of the types that were seen, with enough seen around them: only there "not seen" says something."""
    codes = frozenset[str]().union(*(thing.codes for thing in things)) if things else frozenset[str]()
    around: dict[str, tuple[int, Component]] = {}
    for thing in things:
        for one in atlas.components_near(thing.lat_deg, thing.lon_deg, LOOKED_M):
            if one.code in codes:
                around[one.id] = around.get(one.id, (0, one))[0] + 1, one
    return [one for name, (count, one) in sorted(around.items()) if count >= LEAST_AROUND]


def as_dict(told: Shift, register: list[Component]) -> dict[str, Any]:
    """For machines."""
    return {
        "looked_at": len(register), "matched": {name: asdict(match) for name, match in told.matched.items()},
        "not_in_register": list(told.added), "not_seen": list(told.missing),
        "ambiguous": [list(pair) for pair in told.ambiguous],
    }  # fmt: skip


def lines(told: Shift) -> list[str]:
    """For a person: first the counts, then the two reports."""
    head = f"{len(told.matched)} matched, {len(told.added)} seen and not in the register"
    head += f", {len(told.missing)} in the register and not seen, {len(told.ambiguous)} cannot be told apart"
    found = [head, "seen and not in the register:", *(f"  {name}" for name in told.added)]
    found += ["in the register and not seen:", *(f"  {name}" for name in told.missing)]
    found += [f"cannot be told from its neighbour: {name} (both are {thing})" for name, thing in told.ambiguous]
    return found
