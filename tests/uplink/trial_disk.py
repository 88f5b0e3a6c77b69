"""Disks that fill and rot, backlogs that grow: no crash, counted losses, urgent first, all that is readable arrives."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from gnss.clock import ManualClock, SystemClock, stopwatch
from perception.catalogue import CaseKind, Catalogue
from perception.types import CaseChange, CaseState, JsonDict
from tests.uplink.builders import UTC_NS, case, change, crash, opened, picture
from tests.uplink.model_platform import ModelPlatform
from tests.uplink.trial_crash import ROOT, child_environment
from uplink import outbox
from uplink.disk import DiskLimits
from uplink.payload import Origin
from uplink.sender import Sender
from uplink.store import SqliteStore

URGENT = CaseKind("manhole_damage", "Cover", "井盖异常", "component", "matter", "01023", urgent=True)
ORIGIN = Origin(Catalogue({}, {"manhole_damage": URGENT}))


def mixed(number: int, size: int) -> CaseChange:
    """Every tenth is urgent, every third a candidate; each with two pictures of `size` bytes."""
    state = CaseState.CANDIDATE if number % 3 == 1 else CaseState.OPEN
    kind: dict[str, Any] = {"kind": "manhole_damage", "code": "01023"} if number % 10 == 0 else {}
    pictures = tuple(picture(number * 10 + k, size=size) for k in range(2))
    return change(case(number, state, **kind), pictures)


def fill(folder: Path, cases: int, size: int, limits: DiskLimits | None = None) -> JsonDict:
    """Commit `cases` offline, then deliver: everything is acknowledged, waiting, dead, or counted as shed."""
    clock, platform = ManualClock(1, UTC_NS), ModelPlatform()
    store = SqliteStore(folder / "store.sqlite", "car-1", clock, origin=ORIGIN, limits=limits)
    for number in range(cases):
        store.commit([mixed(number, size)])
    highest = store.disk.level()
    sender = Sender(store, platform, clock, random.Random(1))
    assert sender.drain(1e6)
    states: Counter[str] = Counter()
    urgent_shed = 0
    for row in store._database.rows("SELECT prio, state FROM event"):
        states[row["state"]] += 1
        urgent_shed += row["prio"] == 0 and row["state"] == "shed"
    blobs = Counter((row["prio"], row["state"]) for row in store._database.rows("SELECT prio, state FROM blob"))
    urgent_shed += blobs[(0, "shed")] + blobs[(0, "lost")]
    losses = store.outbox.losses()
    found: JsonDict = {
        "enqueued": store.last_seq, "acked": states["acked"] + states["purged"], "queued": states["ready"],
        "dead": states["dead"], "shed": states["shed"], "urgent_shed": urgent_shed,
        "pictures_shed": losses.get("shed evidence", 0), "level_when_full": round(highest, 3),
        "ballast": store.disk.has_ballast, "at_platform": len(platform.events), "losses": losses,
    }  # fmt: skip
    shed_blobs = sum(count for (_, state), count in blobs.items() if state == "shed")
    store.close()
    assert found["enqueued"] == cases, found
    assert found["acked"] + found["queued"] + found["dead"] + found["shed"] == cases, found
    assert found["urgent_shed"] == 0, found
    assert shed_blobs == found["pictures_shed"], found
    assert losses.get("shed event", 0) == found["shed"], found
    return found


def small_disk(folder: Path, megabytes: int, cases: int, size: int) -> JsonDict:
    """`fill` on a file system of that size (root: tmpfs in a mount namespace of its own)."""
    code = (
        "import json, sys; from pathlib import Path; from tests.uplink.trial_disk import fill;"
        "print(json.dumps(fill(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))"
    )
    folder.mkdir(parents=True, exist_ok=True)
    inner = f'mount -t tmpfs -o size={megabytes}m none "$1" && exec "$2" -c "$3" "$1" {cases} {size}'
    command = ["unshare", "-m", "sh", "-c", inner, "sh", str(folder), sys.executable, code]
    ran = subprocess.run(command, cwd=ROOT, env=child_environment(), check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    result: JsonDict = json.loads(ran.stdout.splitlines()[-1])
    return result


def _damage(path: Path, rng: random.Random) -> str:
    content = bytearray(path.read_bytes())
    kind = rng.choice(("flip", "truncate", "zero page", "garbage page"))
    if not content:
        return "empty"
    at = rng.randrange(len(content))
    if kind == "flip":
        content[at] ^= 1 << rng.randrange(8)
    elif kind == "truncate":
        del content[at:]
    else:
        start = at // 4096 * 4096
        page = bytes(4096) if kind == "zero page" else rng.randbytes(4096)
        content[start : start + 4096] = page[: len(content) - start]
    path.write_bytes(content)
    return kind


def corruptions(folder: Path, count: int, seed: int, cases: int = 40) -> JsonDict:
    """Damage one file of a crashed store at random, start, deliver: what no longer can be read is named and counted."""
    rng, clock = random.Random(seed), ManualClock(1, UTC_NS)
    template = folder / "template"
    store = SqliteStore(template / "store.sqlite", "car-1", clock)
    store.commit([opened(k) for k in range(cases)])
    acked = ModelPlatform()
    sender = Sender(store, acked, clock, random.Random(1))
    for _ in range(cases // 4):
        sender.step()
    # A copy taken while it is open has its log and its index of the log.
    shutil.copytree(template, folder / "crashed")
    crash(store)
    slowest, quarantined, mended, lost, memory_lost = 0.0, 0, 0, 0, 0
    for number in range(count):
        place = folder / "damaged"
        shutil.copytree(folder / "crashed", place)
        files = sorted(place.glob("store.sqlite*"))
        pictures = sorted(place.rglob("*.jpg"))
        target = rng.choice([*files, rng.choice(pictures), *sorted((place / "journal").iterdir())])
        what = f"{number}: {target.name} {_damage(target, rng)}"
        platform = ModelPlatform()
        platform.events, platform.pictures = dict(acked.events), dict(acked.pictures)
        watch = stopwatch()
        again = SqliteStore(place / "store.sqlite", "car-1", clock)
        slowest = max(slowest, watch())
        assert Sender(again, platform, clock, random.Random(2)).drain(1e6), what
        losses = again.outbox.losses()
        epochs = {uid.split(":")[1] for uid in platform.events}
        assert len(platform.events) == cases, f"{what}: {len(platform.events)} events, {losses}"
        assert len(epochs) == 1, what
        assert platform.conflicts == 0, what
        gone = losses.get("lost evidence", 0)
        assert len(platform.pictures) + gone == cases, f"{what}: {len(platform.pictures)} pictures, {losses}"
        assert gone <= (target.suffix == ".jpg"), f"{what}: {losses}"
        quarantined += "damaged store" in losses
        lost += gone
        memory_lost += again.memory_lost
        known = {c.id for c in again.cases()}
        assert again.memory_lost or len(known) == cases, f"{what}: {len(known)} known"
        again.commit([opened(cases + 1)])
        again.close()
        shutil.rmtree(place)
    return {
        "corruptions": count, "slowest_start_s": round(slowest, 2), "stores_replaced": quarantined,
        "memory_lost_set": memory_lost, "pictures_lost_and_counted": lost, "events_lost": 0, "mended": mended,
    }  # fmt: skip


def backlog(folder: Path, cases: int, pictures: int) -> JsonDict:
    """Build a backlog, then start, drain and shrink it in processes of their own."""
    figures: JsonDict = {"cases": cases}
    for step in ("build", "start", "drain", "reopen"):
        command = [sys.executable, "-m", "tests.uplink.trial_disk", step, str(folder), str(cases), str(pictures)]
        ran = subprocess.run(command, cwd=ROOT, env=child_environment(), check=False, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr[-3000:]
        figures |= {f"{step}_{name}": value for name, value in json.loads(ran.stdout.splitlines()[-1]).items()}
    assert figures["drain_out_of_order"] == 0, figures
    assert figures["drain_delivered"] == cases + pictures, figures
    assert figures["drain_mb_after"] < figures["drain_mb_before"], figures
    return figures


def _build(path: Path, cases: int, pictures: int) -> JsonDict:
    store = SqliteStore(path, "car-1", SystemClock(), origin=ORIGIN)
    for first in range(0, cases, 500):
        made = []
        for number in range(first, min(first + 500, cases)):
            state = CaseState.CANDIDATE if number % 3 == 1 else CaseState.OPEN
            kind: dict[str, Any] = {"kind": "manhole_damage", "code": "01023"} if number % 100 == 0 else {}
            shown = () if number >= pictures else (picture(number, size=2000),)
            made.append(change(case(number, CaseState.OPEN if shown else state, **kind), shown))
        store.commit(made)
    crash(store)
    return {"mb": round(_size_mb(path), 1)}


def _size_mb(path: Path) -> float:
    return sum(p.stat().st_size for p in path.parent.glob(path.name + "*")) / 1e6


def _drain(path: Path) -> JsonDict:
    platform = ModelPlatform()
    store = SqliteStore(path, "car-1", SystemClock(), origin=ORIGIN)
    store.wait_checked()
    before = _size_mb(path)
    prio = {row["uid"]: row["prio"] for row in store._database.rows("SELECT uid, prio FROM event")}
    watch = stopwatch()
    assert Sender(store, platform, SystemClock(), random.Random(1)).drain(1e6)
    seconds = watch()
    order = [(prio[uid], int(uid.rpartition(":")[2])) for uid in platform.order if ":" in uid]
    # Rows stay as proof, 100,000 of them; the file gets smaller when older ones go. Scaled to this backlog.
    outbox._KEEP_ROWS = min(outbox._KEEP_ROWS, len(prio) // 2)
    while store.tidy(keep_events=min(1000, len(prio) // 10)):
        pass
    store.close()
    return {
        "delivered": len(platform.events) + len(platform.pictures), "out_of_order": int(order != sorted(order)),
        "per_s": round(len(platform.order) / seconds), "mb_before": round(before, 1),
        "mb_after": round(_size_mb(path), 1), "journal_files": len(store.journal.segments()),
    }  # fmt: skip


def _peak_rss_mb() -> float:
    """Highest resident memory of this program; getrusage would tell that of the one which started it, if larger."""
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _start(path: Path) -> JsonDict:
    watch = stopwatch()
    store = SqliteStore(path, "car-1", SystemClock(), origin=ORIGIN)
    first = store.outbox.next_event()
    seconds = watch()
    store.wait_checked()
    checked = watch()
    store.known([(6050, 24030)], 1)
    rss_mb = _peak_rss_mb()
    descriptors = len(os.listdir("/proc/self/fd"))
    crash(store)
    assert first is None or first.prio == 0
    return {
        "s": round(seconds, 2), "checked_s": round(checked, 2), "rss_mb": round(rss_mb), "descriptors": descriptors,
    }  # fmt: skip


if __name__ == "__main__":
    file = Path(sys.argv[2]) / "store.sqlite"
    steps = {"build": lambda: _build(file, int(sys.argv[3]), int(sys.argv[4])), "start": lambda: _start(file),
             "drain": lambda: _drain(file), "reopen": lambda: _start(file)}  # fmt: skip
    print(json.dumps(steps[sys.argv[1]]()))
