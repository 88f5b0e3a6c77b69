"""Facts of a run for its report page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gnss.atlas import Atlas
from perception.serial import utc_text
from replays.drive import Drive
from replays.geojson import read_features
from replays.report import ReportFacts, city_features
from vehicle.setup import Equipment


def report_facts(
    drives: Sequence[Drive],
    atlases: Sequence[Atlas],
    kit: Equipment,
    timings: Mapping[str, Mapping[str, float]],
    truth: Path | None,
    notices: Sequence[str],
) -> ReportFacts:
    """Title, drive facts, city features and truth for `report.html`."""
    rows: list[tuple[str, str]] = []
    zones, grids = [], []
    for drive, atlas in zip(drives, atlases, strict=True):
        cameras = ", ".join(f"{n} {c.width}x{c.height}" for n, c in drive.cameras.items())
        rows.append((drive.meta.name, f"vehicle {drive.meta.vehicle}, {cameras}, {len(drive.fixes)} fixes"))
        rows.append(("start", utc_text(drive.start_utc_ns) or "no UTC"))
        rows.append(("city", atlas.name or "no atlas: no zone, no grid"))
        if drive.city is not None:
            found = city_features(drive.city)
            zones += found[0]
            grids += found[1]
    card = kit.card
    rows.append(
        ("model", f"{card.name} ({card.decoder}, {card.input_wh[0]}x{card.input_wh[1]}, sha256 {card.sha256[:12]})")
    )
    told = sum(card.confidence_is(name) == "calibrated" for name in card.class_names)
    rows.append(("confidence", f"calibrated for {told} of {len(card.class_names)} classes, raw for the others"))
    if kit.detector is not None:
        rows.append(("backend", kit.detector.network.backend))
    busy = sum(row["total_s"] for row in timings.values())
    rows.append(("busy", f"{busy:.1f} s"))
    true = read_features(truth) if truth is not None and truth.exists() else []
    title = ", ".join(d.meta.name for d in drives)
    return ReportFacts(title, kit.catalogue.kinds, rows, zones, grids, true, tuple(notices))


def live_facts(vehicle: str, kit: Equipment, atlas: Atlas, city: Path | None) -> ReportFacts:
    """The same for a live run, which has no drive folder to describe."""
    zones, grids = city_features(city) if city is not None else ([], [])
    rows = [("vehicle", vehicle), ("city", atlas.name or "no atlas: no zone, no grid"), ("model", kit.card.name)]
    return ReportFacts(f"{vehicle}, live", kit.catalogue.kinds, rows, zones, grids)
