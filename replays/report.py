"""report.html of a run folder: one self-contained page with the map, cases and pictures, the ledger and timings."""

from __future__ import annotations

import base64
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from perception.catalogue import CaseKind
from perception.errors import CityError
from perception.types import LISTED_STATES
from replays import report_map as drawing
from replays.atomic import write_text
from replays.geojson import read_features
from replays.report_parts import cards, fact_list, ledger_table, timing_table

Feature = Mapping[str, Any]
_PLACE = re.compile("@@([a-z_]+)@@")
MOST_CARDS = 200
"""Cards with pictures; beyond them the page would grow past what a phone opens (the run folder has them all)."""


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """What the page shows beyond the run folder. `facts`: (label, value) rows; features are GeoJSON."""

    title: str
    kinds: Mapping[str, CaseKind]
    facts: Sequence[tuple[str, str]] = ()
    zones: Sequence[Feature] = ()
    grids: Sequence[Feature] = ()
    truth: Sequence[Feature] = ()
    notes: Sequence[str] = field(default=())


def city_features(city_toml: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Zones and grids named by a city.toml, as far as they are GeoJSON; raises CityError when it cannot be read."""
    try:
        table = tomllib.loads(city_toml.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CityError(f"cannot be read: {error}", file=city_toml, remedy="restore it or mend the TOML") from error
    found: list[list[dict[str, Any]]] = []
    for key in ("zones", "grids"):
        name = table.get(key)
        plain = isinstance(name, str) and name.lower().endswith((".geojson", ".json"))
        found.append(read_features(city_toml.parent / str(name)) if plain else [])
    return found[0], found[1]


def write_report(run_dir: Path, facts: ReportFacts) -> Path:
    """Write `report.html` into a run folder from its members; returns the file; DriveError on a broken member."""
    cases = read_features(run_dir / "cases.geojson")
    tracks = read_features(run_dir / "track.geojson")
    landmarks = read_features(run_dir / "landmarks.geojson")
    ledger = json.loads((run_dir / "ledger.json").read_text(encoding="utf-8"))
    timings = json.loads((run_dir / "timings.json").read_text(encoding="utf-8"))
    pictures = _pictures(run_dir)
    listed = _sorted([f for f in cases if f["properties"]["state"] in LISTED_STATES], facts.kinds)
    others = _sorted([f for f in cases if f["properties"]["state"] not in LISTED_STATES], facts.kinds)
    pins = _pins(listed, facts.kinds, "") + _pins(others, facts.kinds, "c")
    frame = _frame(tracks, cases, facts)
    world = "" if frame is None else _world(frame, tracks, cases, landmarks, facts)
    number = len(listed)
    parts = {
        "title": escape(facts.title),
        "summary": _summary(listed, others, ledger),
        "notes": "".join(f'<p class="note">{escape(note)}</p>' for note in facts.notes),
        "view_box": "0 0 100 100" if frame is None else frame.view_box(),
        "map_hidden": "hidden" if frame is None else "",
        "truth_hidden": "" if facts.truth else "hidden",
        "world": world,
        "pins": "" if frame is None else "".join(drawing.pin(frame, row) for row in reversed(pins)),
        "cases": cards(pins[:number][:MOST_CARDS], frame, facts.kinds, pictures, number),
        "candidates": cards(pins[number:][:MOST_CARDS], frame, facts.kinds, pictures, len(others)),
        "ledger": ledger_table(ledger),
        "timings": timing_table(timings),
        "facts": fact_list(facts.facts),
    }
    page = resources.files("replays").joinpath("report_page.html").read_text(encoding="utf-8")
    write_text(run_dir / "report.html", _PLACE.sub(lambda place: parts[place[1]], page))
    return run_dir / "report.html"


def _frame(tracks: Sequence[Feature], cases: Sequence[Feature], facts: ReportFacts) -> drawing.MapFrame | None:
    """The frame around track and cases; zones and grids may reach beyond it. None: the run placed nothing."""
    points = [(lat, lon) for feature in (*tracks, *cases) for lon, lat in drawing.positions(feature)]
    if not points:
        points = [(lat, lon) for feature in facts.zones for lon, lat in drawing.positions(feature)]
    return drawing.MapFrame(points) if points else None


def _world(
    frame: drawing.MapFrame,
    tracks: Sequence[Feature],
    cases: Sequence[Feature],
    landmarks: Sequence[Feature],
    facts: ReportFacts,
) -> str:
    """All layers in world metres, from the ground up."""
    grids = [drawing.polygon_path(frame, f, "grid", _name(f, "grid")) for f in facts.grids if frame.holds(f)]
    zones = [
        drawing.polygon_path(frame, f, f"zone {_css(f['properties'].get('kind'))}", _name(f, "zone"))
        for f in facts.zones
        if frame.holds(f)
    ]
    lines = [drawing.track_path(frame, f) + drawing.arrow_path(frame, f) for f in tracks]
    dots = [
        drawing.dot(
            frame,
            f,
            f"landmark {f['properties']['verdict']}",
            0.3,
            f"{f['properties']['class']}, {f['properties']['verdict']}",
        )
        for f in landmarks
    ]
    rings = [drawing.ellipse(frame, f, f"ellipse {_family(f, facts.kinds)} {f['properties']['state']}") for f in cases]
    spots = [drawing.dot(frame, f, f"spot {_family(f, facts.kinds)}", 0.25, f["properties"]["id"]) for f in cases]
    crosses = [drawing.truth_cross(frame, f) for f in facts.truth]
    layers = (
        ("grids", grids),
        ("zones", zones),
        ("tracks", lines),
        ("landmarks", dots),
        ("ellipses", rings + spots),
        ("truths", crosses),
    )
    return "".join(f'<g class="layer-{name}">{"".join(items)}</g>' for name, items in layers)


def _sorted(features: Sequence[Feature], kinds: Mapping[str, CaseKind]) -> list[Feature]:
    return sorted(features, key=lambda f: (_family(f, kinds), f["properties"]["kind"], f["properties"]["id"]))


def _pins(features: Sequence[Feature], kinds: Mapping[str, CaseKind], prefix: str) -> list[drawing.Pin]:
    rows = []
    for number, feature in enumerate(features, 1):
        about = feature["properties"]
        kind = kinds.get(about["kind"])
        label = f"{prefix}{number}"
        title = f"{label} · {about['kind'] if kind is None else kind.title} · {about['state']}"
        rows.append(drawing.Pin(f"case-{label}", label, _family(feature, kinds), about["state"], title, feature))
    return rows


def _family(feature: Feature, kinds: Mapping[str, CaseKind]) -> str:
    kind = kinds.get(feature["properties"]["kind"])
    return "other" if kind is None else _css(kind.family)


def _css(text: object) -> str:
    """A class name made of letters, digits and hyphens only: city data never reaches the page's markup raw."""
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in str(text)).strip("-") or "other"


def _name(feature: Feature, what: str) -> str:
    about = feature["properties"]
    words = [what, about.get("id"), about.get("kind"), about.get("name"), about.get("hours")]
    dwell = about.get("dwell_s")
    return " · ".join(str(w) for w in words if w) + ("" if dwell is None else f" · dwell {dwell} s")


def _pictures(run_dir: Path) -> dict[str, list[dict[str, Any]]]:
    """Evidence lines by case id, each once per hash, with `data` as a data URI."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for line in (run_dir / "evidence.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["file"] is None or row["sha256"] in found.get(row["case_id"], {}):
            continue
        jpeg = (run_dir / row["file"]).read_bytes()
        row["data"] = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
        found.setdefault(row["case_id"], {})[row["sha256"]] = row
    return {case_id: list(rows.values()) for case_id, rows in found.items()}


def _summary(listed: Sequence[Feature], others: Sequence[Feature], ledger: Mapping[str, Any]) -> str:
    states: dict[str, int] = {}
    for feature in listed:
        state = feature["properties"]["state"]
        states[state] = states.get(state, 0) + 1
    candidates = sum(f["properties"]["state"] == "candidate" for f in others)
    tiles = [
        (str(len(listed)), "cases filed 案件"),
        *((str(n), s) for s, n in sorted(states.items()) if len(states) > 1),
    ]
    tiles += [(str(candidates), "candidates 待确认"), (str(ledger["tracks"]), "tracks 目标轨迹")]
    return "".join(f"<div><b>{number}</b><span>{escape(label)}</span></div>" for number, label in tiles)
