"""The folder that an evaluation leaves: report.json, a table to read, and its curves as pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.calibrate import FLOOR, Calibration, Sample, calibration_error, reliability, sample_of
from models.charts import BLUE, GREEN, ORANGE, Line, Panel, draw_matrix, draw_panels
from models.confusion import Confusion
from models.evaluate import POOLED, ClassScore, Role, Scores
from models.operating import OperatingPoint
from models.people import PeopleRecall

FEWEST_FOR_CURVE = 30


@dataclass(frozen=True, slots=True)
class Engine:
    """What was measured: file name, sha256, bytes, input size; it stands beside every figure."""

    name: str
    sha256: str
    size_bytes: int
    input_wh: tuple[int, int]

    @property
    def told(self) -> str:
        """One line for headlines."""
        width, height = self.input_wh
        return f"{self.name} {self.sha256[:8]}, input {width}x{height}, {self.size_bytes / 1e6:.1f} MB"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that was measured. points_from: the split the operating points come from; `calibration` None: raw."""

    engine: Engine
    scores: Scores
    points: Mapping[str, OperatingPoint]
    points_from: str
    confusions: Mapping[str, Confusion]
    people: Sequence[PeopleRecall]
    calibration: Calibration | None
    why_raw: str
    replicates: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        sets = {
            name: {
                "role": one.role.value,
                "rendered": one.rendered,
                "classes": {label: score.as_dict() for label, score in one.classes.items()},
            }
            for name, one in self.scores.items()
        }
        return {
            "engine": asdict(self.engine),
            "bootstrap": self.replicates,
            "sets": sets,
            "operating_points": {name: _finite(asdict(point)) for name, point in self.points.items()},
            "operating_points_from": self.points_from,
            "confusion": {name: one.as_dict() for name, one in self.confusions.items()},
            "people": [_finite(asdict(row)) for row in self.people],
            "calibration": None if self.calibration is None else asdict(self.calibration),
            "why_raw": self.why_raw,
            "calibration_error": calibration_errors(self.scores, self.calibration),
        }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in values.items()}


def calibration_errors(scores: Scores, calibration: Calibration | None) -> dict[str, dict[str, float | None]]:
    """Expected calibration error per class with enough detections, raw and calibrated (None without a fit)."""
    table: dict[str, dict[str, float | None]] = {}
    for name in sorted({label for one in scores.values() for label in one.classes}):
        sample = sample_of(scores, name)
        if len(sample.hit) < FEWEST_FOR_CURVE:
            continue
        fit = None if calibration is None else calibration.classes.get(name)
        after = None if fit is None else calibration_error(fit.apply(sample.confidence), sample.hit)
        table[name] = {"raw": calibration_error(sample.confidence, sample.hit), "calibrated": after}
    return table


def report_text(result: Evaluation) -> str:
    """The figures as a person reads them."""
    lines = [f"{result.engine.told}; 95 % intervals from {result.replicates} redraws of the pictures"]
    for name, one in result.scores.items():
        lines += ["", f"{name}{' (rendered)' if one.rendered else ''}"]
        lines.append(
            f"  {'class':<22}{'AP50':>6}  {'95 %':<13}{'strict':>6} {'AP50-95':>8}  {'boxes':>5}  small/medium/large"
        )
        lines += [_row(label, score) for label, score in one.classes.items()]
    lines += ["", f"operating points (highest F1, {result.points_from} pictures)"]
    for name, point in result.points.items():
        lines.append(
            f"  {name:<22}confidence {point.confidence:.2f}  precision {_share(point.precision)}"
            f"  recall {_share(point.recall)}  {point.boxes} boxes"
        )
    if result.people:
        lines += ["", "people found (IoU 0.5) at the privacy threshold, by their height in the input"]
    for row in result.people:
        lines.append(
            f"  against {row.against:<16} {row.height:<18} at {row.confidence:.2f}: {row.recall:.2f} "
            f"({_share(row.low)}-{_share(row.high)}) of {row.people}"
        )
    lines += ["", f"confidence: {'calibrated' if result.calibration else 'raw, ' + result.why_raw}"]
    for name, errors in calibration_errors(result.scores, result.calibration).items():
        lines.append(
            f"  {name:<22}calibration error raw {_share(errors['raw'])}, calibrated {_share(errors['calibrated'])}"
        )
    return "\n".join(lines)


def _row(label: str, score: ClassScore) -> str:
    sizes = "  ".join(f"{_share(ap)} ({boxes})" for ap, boxes in score.sizes.values())
    return (
        f"  {label:<22}{score.ap50:6.3f}  {_share(score.low)}-{_share(score.high):<8}{score.strict_ap50:6.3f}"
        f" {score.ap50_95:8.3f}  {score.boxes:5d}  {sizes}"
    )


def _share(value: float | None) -> str:
    return "none" if value is None or not np.isfinite(value) else f"{value:.2f}"


def write_report(result: Evaluation, out: Path) -> None:
    """Write report.json, report.txt, pr-*.png, confusion-*.png and calibration.png into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    tree = json.dumps(result.as_dict(), indent=1, sort_keys=True)
    (out / "report.json").write_text(tree + "\n", encoding="utf-8")
    (out / "report.txt").write_text(report_text(result) + "\n", encoding="utf-8")
    for name, one in result.scores.items():
        if name == POOLED or one.rendered or one.role is Role.REPORT:
            panels = [_curve(label, score, result.points[label]) for label, score in one.classes.items()]
            head = f"Precision and recall at IoU 0.5: {name}"
            draw_panels(panels, head, result.engine.told, out / f"pr-{name.split(' (')[0]}.png")
    for name, one_confusion in result.confusions.items():
        note = f"{result.engine.told}; at the case thresholds, IoU 0.5; column nothing: missed, row nothing: false"
        draw_matrix(
            one_confusion.names, one_confusion.counts, f"Confusion: {name}", note, out / f"confusion-{name}.png"
        )
    _draw_calibration(result, out / "calibration.png")


def _curve(label: str, score: ClassScore, point: OperatingPoint) -> Panel:
    confidence, hit = score.tally.hits()
    found = np.cumsum(hit)
    recall, precision = found / score.boxes, found / np.arange(1, len(hit) + 1)
    lines = [Line(recall.tolist(), precision.tolist())]
    above = int((confidence >= point.confidence).sum())
    if above:
        lines.append(Line([float(recall[above - 1])], [float(precision[above - 1])], ORANGE, points=True))
    between = f"{_share(score.low)}-{_share(score.high)}"
    note = f"AP50 {score.ap50:.3f} ({between}), {score.boxes} boxes, dot: {point.confidence:.2f}"
    return Panel(label, note, "recall", "precision", tuple(lines))


def _draw_calibration(result: Evaluation, out: Path) -> None:
    panels = []
    samples = {name: sample_of(result.scores, name) for name in result.points}
    everything = Sample(
        np.concatenate([s.confidence for s in samples.values()]), np.concatenate([s.hit for s in samples.values()])
    )
    for name, sample in {"all classes": everything, **samples}.items():
        if len(sample.hit) < FEWEST_FOR_CURVE:
            continue
        lines = [_reliability(sample.confidence, sample, BLUE)]
        note = f"raw error {calibration_error(sample.confidence, sample.hit):.3f}, {len(sample.hit)} detections"
        fit = None if result.calibration is None else result.calibration.classes.get(name)
        if fit is not None:
            after = fit.apply(sample.confidence)
            lines.append(_reliability(after, sample, GREEN))
            note += f", calibrated {calibration_error(after, sample.hit):.3f}"
        panels.append(Panel(name, note, "confidence", "share of true ones", tuple(lines), diagonal=True))
    if panels:
        head = f"Confidence against truth, detections from {FLOOR:.2f} on (blue raw, green calibrated)"
        draw_panels(panels, head, result.engine.told, out)


def _reliability(confidence: np.ndarray, sample: Sample, colour: tuple[int, int, int]) -> Line:
    rows = reliability(confidence, sample.hit)
    return Line([row[0] for row in rows], [row[1] for row in rows], colour)
