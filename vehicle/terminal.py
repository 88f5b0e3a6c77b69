"""What a person at a terminal sees: a progress bar on a terminal, a table of cases, plain lines otherwise."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from gnss.geodesy import ellipse95
from perception.catalogue import Catalogue
from perception.serial import matrix2
from perception.types import CaseState
from vehicle.replay import Progress as Tell
from vehicle.replay import ReplayResult

_WIDE = 150
Count = Callable[[str, int], None]
_COLOURS = {
    CaseState.OPEN: "bold red",
    CaseState.REOPENED: "bold red",
    CaseState.MONITORING: "yellow",
    CaseState.RESOLVED: "green",
    CaseState.CANDIDATE: "cyan",
}


@contextmanager
def progress_bar(*, quiet: bool = False) -> Iterator[Tell]:
    """A bar on standard error: live on a terminal, a line per tenth where there is none."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        said: dict[str, int] = {}

        def line(name: str, done: int, total: int) -> None:
            tenth = 10 * done // max(total, 1)
            if not quiet and said.get(name, -1) < tenth:
                said[name] = tenth
                print(f"{name}: {done}/{total} frames", file=sys.stderr)

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        tasks: dict[str, Any] = {}

        def update(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done)

        yield update


@contextmanager
def counter(*, quiet: bool = False) -> Iterator[Count]:
    """What is done where nobody knows the total: `tell(name, done)`; live on a terminal, else a line now and then."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        said: dict[str, int] = {}

        def line(name: str, done: int) -> None:
            if not quiet and done >= max(2 * said.get(name, 0), 100_000):
                said[name] = done
                print(f"{name}: {done:,}", file=sys.stderr)

        yield line
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed:,.0f}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        tasks: dict[str, Any] = {}

        def update(name: str, done: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=None)
            bar.update(tasks[name], completed=done)

        yield update


def print_json(tree: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(tree, indent=1, sort_keys=True, ensure_ascii=False))


def screen() -> Console:
    """Standard output; where there is no terminal rich assumes 80 columns and would cut ids and reasons."""
    return Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)


def print_result(result: ReplayResult, catalogue: Catalogue) -> None:
    """The run as a person reads it: notices, cases, candidates, ledger, speed."""
    console = screen()
    for notice in result.notices:
        console.print(f"[yellow]note[/] {notice}")
    if result.listed or result.candidates:
        console.print(_table(result, catalogue, wide=console.width >= _WIDE))
    else:
        console.print("[bold]no case and no candidate[/]")
    ends = ", ".join(f"{count} {end}" for end, count in sorted(result.ends.items()))
    console.print(f"ledger: {sum(result.ends.values())} tracks = {ends or 'none'}")
    dropped = {k: v for k, v in result.data.items() if k not in ("frames", "fixes") and v}
    told = ", ".join(f"{count} {what}" for what, count in sorted(dropped.items())) or "nothing"
    console.print(f"read: {result.data['frames']} frames, {result.data['fixes']} fixes; dropped: {told}")
    rate = result.frames / result.run_s if result.run_s else 0.0
    said = f"{rate:.1f} frames/s, {result.wall_s:.1f} s in all; report: {result.out / 'report.html'}"
    console.print(said, soft_wrap=True)
    if result.unsent:
        console.print(f"[red]{result.unsent} items could not be delivered[/]; they stay in {result.store}")


def _table(result: ReplayResult, catalogue: Catalogue, *, wide: bool) -> Table:
    """Cases first, then candidates; a narrow terminal gets the columns that tell them apart."""
    table = Table(title=f"{len(result.listed)} cases, {len(result.candidates)} candidates", title_justify="left")
    columns = ["case", "state", "what", "code", "95 % m"]
    columns += ["lat, lon", "exists", "pictures", "reason"] if wide else ["reason"]
    for name in columns:
        table.add_column(name, no_wrap=name in ("case", "state", "code", "95 % m", "lat, lon"))
    for case in sorted(
        [*result.listed, *result.candidates], key=lambda c: (c.state is CaseState.CANDIDATE, c.kind, c.id)
    ):
        major, minor, _ = ellipse95(matrix2(case.cov_m2))
        kind = catalogue.kinds[case.kind]
        cells = {
            "case": case.id[:10],
            "state": f"[{_COLOURS.get(case.state, 'white')}]{case.state.value}[/]",
            "what": f"{kind.title} {kind.title_zh}",
            "code": case.code,
            "95 % m": f"{major:.1f} x {minor:.1f}",
            "lat, lon": f"{case.lat_deg:.6f}, {case.lon_deg:.6f}",
            "exists": f"{case.existence:.2f}",
            "pictures": str(len(case.evidence)),
            "reason": case.reason,
        }
        table.add_row(*(cells[name] for name in columns))
    return table


def result_json(result: ReplayResult) -> dict[str, Any]:
    """The run for machines."""
    states: dict[str, int] = {}
    for case in result.cases:
        states[case.state.value] = states.get(case.state.value, 0) + 1
    return {
        "out": str(result.out),
        "cases": states,
        "ledger": dict(result.ends),
        "data": dict(result.data),
        "frames": result.frames,
        "wall_s": result.wall_s,
        "run_s": result.run_s,
        "store": str(result.store),
        "unsent": result.unsent,
        "notices": list(result.notices),
    }
