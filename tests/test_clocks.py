"""Clocks are read in one module; everything else takes stamps or a Clock as arguments."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.source_tree import ROOT, parse, plant, sources

CLOCK_MODULE = "gnss/clock.py"
CLOCK_READS = frozenset(
    {
        f"time.{name}{unit}"
        for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time")
        for unit in ("", "_ns")
    }
    | {f"time.{name}" for name in ("clock_gettime", "clock_gettime_ns", "sleep")}
    | {f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")}
    | {"datetime.date.today", "os.times", "uuid.uuid1"}
)
READS_WITHOUT_ARGUMENT = frozenset(f"time.{name}" for name in ("gmtime", "localtime", "ctime", "asctime"))
SQL_CLOCK = re.compile(r"\bCURRENT_(TIMESTAMP|TIME|DATE)\b|\(\s*'now'", re.IGNORECASE)


def names_in_scope(tree: ast.Module) -> dict[str, str]:
    """Local name -> full name, of all imports at any depth."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                found[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return found


def full_name(node: ast.expr, scope: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{full_name(node.value, scope)}.{node.attr}"
    return scope.get(node.id, "") if isinstance(node, ast.Name) else ""


def clock_reads(root: Path) -> list[str]:
    """`file:line name` for each use of a clock outside the clock module, called or handed on, and of clocks in SQL."""
    wrong = []
    for path in sources(root):
        where = path.relative_to(root).as_posix()
        if where == CLOCK_MODULE:
            continue
        tree = parse(path)
        scope = names_in_scope(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute | ast.Name) and full_name(node, scope) in CLOCK_READS:
                wrong.append(f"{where}:{node.lineno} {full_name(node, scope)}")
            elif isinstance(node, ast.Call) and not node.args and full_name(node.func, scope) in READS_WITHOUT_ARGUMENT:
                wrong.append(f"{where}:{node.lineno} {full_name(node.func, scope)}")
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL_CLOCK.search(node.value):
                wrong.append(f"{where}:{node.lineno} a clock in SQL")
    return wrong


def test_clocks_are_read_in_one_module() -> None:
    assert clock_reads(ROOT) == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("import time\ntime.time()\n", "time.time"),
        ("import time as t\nx = t.perf_counter\n", "time.perf_counter"),
        ("from time import monotonic_ns as m\nm()\n", "time.monotonic_ns"),
        ("import datetime\ndatetime.datetime.now(datetime.UTC)\n", "datetime.datetime.now"),
        ("from datetime import datetime\ndatetime.utcnow()\n", "datetime.datetime.utcnow"),
        ("import time\ntime.gmtime()\n", "time.gmtime"),
        ("x = 'INSERT INTO t VALUES (CURRENT_TIMESTAMP)'\n# second line\n", "a clock in SQL"),
    ],
)
def test_a_planted_clock_is_found(tmp_path: Path, text: str, name: str) -> None:
    plant(tmp_path, "uplink/a.py", text)
    plant(tmp_path, CLOCK_MODULE, "import time\nnow = time.time()\n")
    plant(
        tmp_path, "uplink/fine.py", "import time\nfrom datetime import datetime\ntime.gmtime(0)\ndatetime(2026, 1, 1)\n"
    )
    assert [finding.split(" ", 1)[1] for finding in clock_reads(tmp_path)] == [name]
