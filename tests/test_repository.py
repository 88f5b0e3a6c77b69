"""What is tracked is fit to be read by strangers: no path of one machine, no private index, no secret, nothing huge."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.source_tree import ROOT

LARGEST_FILE_BYTES = 10_000_000
HOMES = ("home", "root", "Users", "work")
FORBIDDEN = {
    "a path of one machine": re.compile(rf"(?<![\w.:/~-])/(?:{'|'.join(HOMES)})/[\w.]"),
    "an index's address": re.compile(r"--(?:extra-)?index-url[ =]\S*:/|\bfile:///|https?://[^\s\"')]+/simple\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"),
    "a password in an address": re.compile(r"\w://[^/\s:@{}]+:[^/\s:@{}]+@"),
}
LOCKED = re.compile(r"(?:[a-z0-9-]+==[\w.]+(?: ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}(?: \\)?)\Z")


def tracked() -> list[Path]:
    if shutil.which("git") is None:
        pytest.skip("GIT IS ABSENT: what is tracked cannot be listed")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip(f"NOT A GIT CHECKOUT: {listed.stderr.strip()}")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def findings(text: str) -> list[str]:
    return [
        f"line {number}: {what}"
        for number, line in enumerate(text.splitlines(), 1)
        for what, pattern in FORBIDDEN.items()
        if pattern.search(line)
    ]


def test_no_tracked_text_tells_of_a_machine() -> None:
    found = []
    for path in tracked():
        data = path.read_bytes()
        if b"\0" not in data:
            found += [f"{path.relative_to(ROOT)} {finding}" for finding in findings(data.decode("utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("see /" + "home/somebody/x.txt", "a path of one machine"),
        ("pip install --index" + "-url https://x.example/y", "an index's address"),
        ("-----BEGIN RSA" + " PRIVATE KEY-----", "a private key"),
        ("https://me:" + "secret@x.example", "a password in an address"),
    ],
)
def test_a_planted_leak_is_found(text: str, what: str) -> None:
    assert findings(f"first line\n{text}\n") == [f"line 2: {what}"]
    assert findings("https://x.example/" + "work/page, docs/home/a, tests/" + "work/b, /dev/ttyACM0\n") == []


def test_nothing_tracked_is_huge_or_a_product() -> None:
    paths = tracked()
    assert [path.name for path in paths if path.stat().st_size > LARGEST_FILE_BYTES] == []
    assert [path.name for path in paths if path.suffix in (".pt", ".pth", ".db", ".sqlite", ".pyc")] == []


def test_tracked_pictures_carry_no_place() -> None:
    gps_tag = 0x8825
    pictures = [path for path in tracked() if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
    placed = []
    for path in pictures:
        with Image.open(path) as image:
            if image.getexif().get_ifd(gps_tag):
                placed.append(path.name)
    assert placed == []


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_locks_hold_names_versions_and_hashes_only(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not LOCKED.match(line)] == []
    assert sum("==" in line for line in lines) > 30


def test_the_dev_lock_holds_the_runtime_lock() -> None:
    runtime, dev = ((ROOT / f"requirements{part}.lock").read_text(encoding="utf-8") for part in ("", "-dev"))

    def pins(text: str) -> set[str]:
        return {line.split(" ")[0] for line in text.splitlines() if "==" in line}

    assert pins(runtime) < pins(dev)
