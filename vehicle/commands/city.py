"""`qiji city import|check|info|shift`: files become the car's atlas; what is wrong with them; what lies where."""

from __future__ import annotations

import argparse
import datetime
from collections import Counter
from pathlib import Path
from typing import Any

from gnss.atlas import Atlas, load_atlas
from gnss.cityfile import read_city
from gnss.clock import SystemClock
from gnss.diff import compare
from gnss.findings import ERROR, WARNING, Report
from gnss.importer import import_city
from gnss.store import StoredAtlas
from gnss.survey import survey
from perception.catalogue import load_catalogue
from perception.errors import SetupError
from perception.rulebook import checked_rules
from vehicle.commands import shift
from vehicle.config import MODELS
from vehicle.terminal import counter, print_json

_SHOWN_M = 60.0


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the commands."""
    p = commands.add_parser("city", help="the atlas a city provides")
    verbs = p.add_subparsers(dest="verb", required=True)
    v = verbs.add_parser("import", help="read a city.toml with its members into one .atlas file, the car's store")
    v.add_argument("city", type=Path, metavar="city.toml")
    v.add_argument("--out", type=Path, metavar="FILE.atlas", help="default: beside city.toml, named after its folder")
    v.add_argument("--skip-bad", action="store_true", help="leave out features that cannot be used, and say so")
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle_import)
    v = verbs.add_parser("check", help="read a city.toml with its members and report what is wrong; exit 1 on errors")
    v.add_argument("city", type=Path, metavar="city.toml")
    v.add_argument("--strict", action="store_true", help="exit 1 on warnings too")
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle_check)
    shift.add(verbs)
    v = verbs.add_parser("info", help="what is in an atlas, at a place, or new since another version")
    v.add_argument("city", type=Path, metavar="ATLAS", help="an .atlas file, or a city.toml")
    v.add_argument("--at", metavar="LAT,LON", help="what lies at a place (WGS-84/CGCS2000 degrees)")
    v.add_argument("--since", type=Path, metavar="OLD.atlas", help="what differs from another version")
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle_info)


def handle_import(arguments: argparse.Namespace) -> int:
    """Import, and tell the report and what changed."""
    city: Path = arguments.city
    _check_rules(read_city(city).facts.texts, city)
    out = arguments.out or city.with_name(f"{city.resolve().parent.name}.atlas")
    now = datetime.datetime.fromtimestamp(SystemClock().utc_ns() * 1e-9, datetime.UTC)
    with counter(quiet=arguments.json) as tell:
        done = import_city(
            city, out, imported_utc=now.strftime("%Y-%m-%dT%H:%M:%SZ"), skip_bad=arguments.skip_bad, progress=tell
        )
    if arguments.json:
        difference = None if done.difference is None else done.difference.as_dict()
        head = {"file": str(out), "version": done.version, "serial": done.serial, "changed": done.changed}
        print_json({**head, "report": done.report.as_dict(), "difference": difference})
        return 0
    print("\n".join(done.report.lines()))
    if not done.changed:
        print(f"{out}: nothing new, version {done.serial} ({done.version}) stays")
        return 0
    print(f"{out}: version {done.serial} ({done.version})")
    print("\n".join(done.difference.lines() if done.difference is not None else []))
    return 0


def handle_check(arguments: argparse.Namespace) -> int:
    """Tell what is wrong; a member that cannot be read at all is a setup error (exit 2)."""
    city = read_city(arguments.city)
    _check_rules(city.facts.texts, arguments.city)
    with counter(quiet=arguments.json) as tell:
        report = survey(city, None, tell)
    told = {"name": city.facts.name, "division": city.facts.division}
    if arguments.json:
        print_json({**told, **report.as_dict()})
    else:
        print("\n".join([f"{city.facts.name or 'city'} ({city.facts.division or 'no division'})", *report.lines()]))
    return _verdict(report, strict=arguments.strict)


def _verdict(report: Report, *, strict: bool) -> int:
    return 1 if report.total(ERROR) or (strict and report.total(WARNING)) else 0


def _check_rules(texts: dict[str, str], file: Path) -> None:
    """Rules that cannot be read would stop the car at its next start: better to hear of it now."""
    checked_rules(texts, load_catalogue(MODELS), file)


def handle_info(arguments: argparse.Namespace) -> int:
    """Tell what an atlas holds."""
    atlas = load_atlas(arguments.city)
    facts: dict[str, Any] = {"name": atlas.name, "division": atlas.division, **atlas.counts()}
    facts["zone kinds"] = dict(sorted(Counter(zone.kind for zone in atlas.zones).items()))
    facts["members"] = sorted(atlas.texts)
    if isinstance(atlas, StoredAtlas):
        facts |= {"version": atlas.version, "serial": atlas.serial, "imported": atlas.facts.get("imported_utc", "")}
    if arguments.at is not None:
        facts["at"] = _at(atlas, arguments.at)
    if arguments.since is not None:
        facts["since"] = compare(arguments.since, arguments.city).as_dict()
    if arguments.json:
        print_json(facts)
        return 0
    since = facts.pop("since", None)
    print("\n".join(f"{key}: {value}" for key, value in facts.items()))
    if since is not None:
        print("\n".join(compare(arguments.since, arguments.city).lines()))
    return 0


def _at(atlas: Atlas, text: str) -> dict[str, Any]:
    try:
        lat, lon = (float(part) for part in text.split(","))
        if not (-90.0 <= lat <= 90.0 and -180.0 <= lon <= 180.0):
            raise ValueError
    except ValueError:
        raise SetupError(
            f"--at {text!r} is no place", remedy="write latitude,longitude, for example 30.25,120.16"
        ) from None
    return {
        "grid": atlas.grid_at(lat, lon),
        "zones": [f"{z.id} ({z.kind}, {z.hours.text})" for z in atlas.zones_near(lat, lon, 0.0)],
        "components": [f"{c.id} ({c.type or c.code})" for c in atlas.components_near(lat, lon, _SHOWN_M)[:10]],
        "roads": [r.name for r in atlas.roads_near(lat, lon, _SHOWN_M)[:5]],
    }
