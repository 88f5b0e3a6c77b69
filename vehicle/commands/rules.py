"""`qiji rules explain|check`: why a case was filed or held, with the numbers; can a rule file be followed?"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gnss.atlas import Atlas
from gnss.geodesy import ellipse95
from perception.catalogue import load_catalogue
from perception.codes import load_codes
from perception.content import CaseContent, Desk
from perception.errors import SetupError
from perception.rulebook import parse_rules
from perception.rules import Finding, Rules
from perception.serial import case_from_dict, matrix2, utc_text
from perception.types import Case, Landmark, Verdict
from uplink.inspection import remembered
from vehicle.commands.replay import configured
from vehicle.config import MODELS
from vehicle.folders import STORE_FILE
from vehicle.setup import usable_atlas
from vehicle.terminal import print_json

DIRECTORY = MODELS / "directory" / "gbt47678_5_2026.csv"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the commands."""
    p = commands.add_parser("rules", help="the city's rules: why a case was filed or held; check a rule file")
    verbs = p.add_subparsers(dest="verb", required=True)
    v = verbs.add_parser("explain", help="why a case was filed or held, with the numbers")
    v.add_argument("case", metavar="CASE", help="its id, or the first characters of it")
    v.add_argument("source", type=Path, metavar="RUN|STORE", help="a run folder, or a store (cases.sqlite)")
    v.add_argument("--city", type=Path, metavar="CITY", help="city.toml or .atlas (default: the configuration's)")
    v.add_argument("--config", type=Path, metavar="CAR.toml", help="the car's configuration")
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle_explain)
    v = verbs.add_parser("check", help="read a rule file; a mistake is named with its remedy")
    v.add_argument("rules", type=Path, metavar="rules.toml")
    v.set_defaults(handle=handle_check)


def handle_check(arguments: argparse.Namespace) -> int:
    """Read it against the catalogue and the code directory."""
    file: Path = arguments.rules
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"cannot be read ({error})", file=file, remedy="give a UTF-8 file") from error
    catalogue = load_catalogue(MODELS)
    book = parse_rules(text, file)
    book.check(catalogue, file)
    load_codes(DIRECTORY).check(book.applied(catalogue))
    print(f"{book.name or file}: {len(book.bans)} bans, {len(book.bays)} bays, {len(book.nears)} distances: fine")
    return 0


def handle_explain(arguments: argparse.Namespace) -> int:
    """Tell the case's history and today's judgement of what is known of it."""
    config = configured(arguments.config, None)
    catalogue = load_catalogue(MODELS)
    city = arguments.city or config.city
    atlas = Atlas.empty() if city is None else usable_atlas(city, catalogue)
    history = _history(arguments.source, arguments.case)
    case = history[-1][1]
    rules = Rules(catalogue, atlas, config.params.rules)
    finding = rules.judge(landmark_of(case), np.zeros((2, 2)))
    content = Desk(atlas, load_codes(DIRECTORY), rules.book).content(case)
    told = explained(case, [reason for reason, _ in history], finding, content)
    if arguments.json:
        print_json(told)
    else:
        print("\n".join(_lines(told)))
    return 0


def landmark_of(case: Case) -> Landmark:
    """A case as the rules see a thing: its fused place, standing still; what only a pass knows is not known."""
    return Landmark(
        case.id, "", 0, "", case.class_name, case.confidence, case.lat_deg, case.lon_deg, matrix2(case.cov_m2),
        Verdict.STATIC, 0.0, case.heading_deg, case.extent_m, 0, 0, case.first_seen_utc_ns, case.last_seen_utc_ns,
        len(case.passes), 0.0, False, case.existence,
    )  # fmt: skip


def explained(case: Case, history: list[str], finding: Finding, content: CaseContent) -> dict[str, Any]:
    """The whole explanation as plain data."""
    major, minor, azimuth = ellipse95(matrix2(case.cov_m2))
    return {
        "case": case.id, "state": case.state.value, "kind": case.kind, "code": f"{case.matter_kind} {case.code}",
        "class": case.class_name, "existence": case.existence, "passes": len(case.passes),
        "first_seen": utc_text(case.first_seen_utc_ns), "last_seen": utc_text(case.last_seen_utc_ns),
        "place": {
            "lat_deg": case.lat_deg, "lon_deg": case.lon_deg, "semi_major_m": round(major, 2),
            "semi_minor_m": round(minor, 2), "azimuth_deg": round(azimuth, 1), "datum": content.datum,
        },
        "dwell_s": case.dwell_s, "evidence_grade": case.evidence_grade, "zone": case.zone, "grid": case.grid,
        "component": None if case.component is None else asdict(case.component),
        "history": history,
        "now": {
            "decision": finding.decision.value, "reason": finding.reason, "kind": finding.kind,
            "dwell_s": finding.dwell_s, "checks": [asdict(check) for check in finding.checks],
        },
        "content": {"standard": content.standard, **content.fields, "missing": list(content.missing)},
        "where": {"zh": content.where.zh, "en": content.where.en},
    }  # fmt: skip


def _lines(told: dict[str, Any]) -> list[str]:
    place = told["place"]
    lines = [
        f"case {told['case']}: {told['state']}, {told['kind']} ({told['code']}), {told['class']}",
        f"where: {told['where']['zh']} / {told['where']['en']}",
        f"  lat {place['lat_deg']:.7f}, lon {place['lon_deg']:.7f} ({place['datum']}),"
        f" 95 % within {place['semi_major_m']} x {place['semi_minor_m']} m",
        f"seen: {told['first_seen']} to {told['last_seen']}, {told['passes']} passes, exists {told['existence']:.3f}",
        "what happened:",
        *(f"  {number}. {reason}" for number, reason in enumerate(told["history"], 1)),
        f"by the rules now: {told['now']['decision']}, {told['now']['reason']}",
    ]
    for check in told["now"]["checks"]:
        mark = "yes" if check["holds"] else "no "
        lines.append(f"  [{mark}] {check['what']}: {check['value']} {check['limit']}".rstrip())
    lines.append("as the standard writes it:")
    lines += [
        f"  {key} {value}" for key, value in told["content"].items() if key not in ("missing", "standard") and value
    ]
    if told["content"]["missing"]:
        lines.append(f"  nobody told: {', '.join(told['content']['missing'])}")
    return lines


def _history(source: Path, wanted: str) -> list[tuple[str, Case]]:
    """Every step of one case, oldest first: what happened, and the case after it."""
    run = source.is_dir() and (source / "changes.jsonl").exists()
    steps = _of_run(source) if run else _of_store(source, wanted)
    names = sorted({case.id for _, case in steps if case.id.startswith(wanted)})
    if len(names) != 1:
        said = f"no case begins with {wanted!r}" if not names else f"{wanted!r} could be {', '.join(names[:5])}"
        raise SetupError(said, file=source, remedy="give the id as cases.geojson or the table shows it")
    return [step for step in steps if step[1].id == names[0]]


def _of_run(folder: Path) -> list[tuple[str, Case]]:
    file = folder / "changes.jsonl"
    steps = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            case = case_from_dict(row["case"])
            steps.append((f"{utc_text(row['utc_ns']) or 'no time'} {row['change']}: {row['reason']}", case))
        except (ValueError, KeyError, TypeError) as error:
            raise SetupError(f"is no change ({error!r})", file=file, line=number, remedy="replay again") from error
    return steps


def _of_store(source: Path, wanted: str) -> list[tuple[str, Case]]:
    file = source / STORE_FILE if source.is_dir() else source
    if not file.is_file():
        raise SetupError("is neither a run folder nor a store", file=source, remedy="name a run, or cases.sqlite")
    cases = remembered(file, wanted)
    return [(f"{utc_text(c.last_seen_utc_ns) or 'no time'} {c.state.value}: {c.reason}", c) for c in cases]
