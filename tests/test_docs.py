"""What the README promises exists: commands, options, make targets, files; and both languages promise the same."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from replays.members import FIX_COLUMNS, FIX_FURTHER, MOTION_COLUMNS, MOTION_FURTHER
from tests.source_tree import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "README.zh.md", *sorted((ROOT / "docs").glob("*.md"))]
GROUPS = {"drive", "model", "city", "rules", "outbox", "evidence", "platform", "bench", "config"}
WORD = re.compile(r"[a-z][a-z-]*\Z")


def code_lines(text: str) -> list[str]:
    """Lines of shell blocks without their comments, and the inline code of the prose."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [line for line in [*lines, *re.findall(r"`([^`\n]+)`", prose)] if line]


def qiji_commands(text: str) -> set[tuple[tuple[str, ...], tuple[str, ...]]]:
    """(words of the command, options) of every `qiji ...` in the code of a document."""
    found = set()
    for line in code_lines(text):
        words = shlex.split(line) if line.startswith(("qiji ", ".venv/bin/qiji ")) else []
        if len(words) > 1:
            depth = 2 if words[1] in GROUPS and len(words) > 2 and WORD.match(words[2]) else 1
            options = tuple(sorted(word.split("=")[0] for word in words if word.startswith("--") and word != "--help"))
            found.add((tuple(words[1 : 1 + depth]), options))
    return found


def make_targets(text: str) -> set[str]:
    return {match[1] for line in code_lines(text) if (match := re.match(r"make ([a-z]+)", line))}


ALL_COMMANDS = sorted(set().union(*(qiji_commands(path.read_text(encoding="utf-8")) for path in DOCUMENTS)))


@pytest.mark.parametrize(("command", "options"), ALL_COMMANDS, ids=[" ".join([*c, *o]) for c, o in ALL_COMMANDS])
def test_the_command_line_knows_it(
    command: tuple[str, ...],
    options: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from vehicle.__main__ import main

    monkeypatch.setattr(sys, "argv", ["qiji", *command, "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    try:
        code: object = main()
    except SystemExit as ended:
        code = ended.code
    printed = capsys.readouterr()
    assert code in (0, None), printed.err
    assert [option for option in options if option not in printed.out] == []


def test_the_readme_names_the_contract() -> None:
    named = {command[0] for command, _ in qiji_commands((ROOT / "README.md").read_text(encoding="utf-8"))}
    assert named >= {"run", "replay", "score", "compare", "drive", "model", "outbox", "platform"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_exist(path: Path) -> None:
    rules = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert make_targets(path.read_text(encoding="utf-8")) - rules == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


def test_named_folders_and_files_exist() -> None:
    """Inline code that looks like a path of this repository must be one; drives and runs of the reader are not."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rooms = ("vehicle/", "uplink/", "replays/", "models/", "perception/", "gnss/", "tests/", "docs/", "scripts/")
    named = {word for line in code_lines(text) for word in line.split() if word.startswith(rooms)}
    assert named, "the README names no folder"
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_both_languages_promise_the_same() -> None:
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md"))
    assert qiji_commands(english) == qiji_commands(chinese)
    assert make_targets(english) == make_targets(chinese)
    assert len(re.findall(r"^## ", english, re.MULTILINE)) == len(re.findall(r"^## ", chinese, re.MULTILINE))


def test_the_drive_format_lists_the_columns_that_are_read() -> None:
    text = (ROOT / "docs" / "drive-format.md").read_text(encoding="utf-8")
    for columns, further in ((FIX_COLUMNS, FIX_FURTHER), (MOTION_COLUMNS, MOTION_FURTHER)):
        row = next(line for line in text.splitlines() if f"`{','.join(columns)}`" in line)
        assert all(f"`{name}`" in row for name in further)
