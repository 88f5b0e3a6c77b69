"""Evidence that somebody touches: every flip, replay, swap and removal is found by one who has only the public key."""

from __future__ import annotations

import random
from pathlib import Path

from gnss.clock import ManualClock
from perception.types import JsonDict
from tests.uplink.builders import UTC_NS, opened
from uplink.export import export
from uplink.keys import PublicKey
from uplink.store import SqliteStore
from uplink.verify import verify_folder


def flip(path: Path, bit: int) -> None:
    """Turn one bit of a file over."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(content)


def flips(folder: Path, key: PublicKey, count: int, seed: int) -> int:
    """Flip a bit of a manifest, a head or a picture; how many were found (all, or AssertionError)."""
    rng = random.Random(seed)
    files = [folder / "chain.jsonl", folder / "head.json", *sorted((folder / "evidence").iterdir())]
    for _ in range(count):
        path = rng.choice(files)
        bit = rng.randrange(8 * (path.stat().st_size - (path.suffix == ".json")))
        flip(path, bit)
        assert not verify_folder(folder, key).ok, f"{path.name} bit {bit}"
        flip(path, bit)
    assert verify_folder(folder, key).ok
    return count


def replays(folder: Path, key: PublicKey, count: int, seed: int) -> int:
    """Repeat a link, put it in the place of another, or swap two; how many were found."""
    path, rng = folder / "chain.jsonl", random.Random(seed)
    lines = path.read_text().splitlines()
    for number in range(count):
        changed = list(lines)
        one, other = rng.sample(range(len(lines)), 2)
        if number % 3 == 0:
            changed.insert(other, lines[one])
        elif number % 3 == 1:
            changed[other] = lines[one]
        else:
            changed[one], changed[other] = changed[other], changed[one]
        path.write_text("\n".join(changed) + "\n")
        assert not verify_folder(folder, key).ok, f"{number}: {one} {other}"
    path.write_text("\n".join(lines) + "\n")
    return count


def removals(folder: Path, key: PublicKey) -> int:
    """Take each link away, one at a time; how many were found."""
    path = folder / "chain.jsonl"
    lines = path.read_text().splitlines()
    for gone in range(len(lines)):
        path.write_text("\n".join(lines[:gone] + lines[gone + 1 :]) + "\n")
        assert not verify_folder(folder, key).ok, f"removed {gone}"
    path.write_text("\n".join(lines) + "\n")
    assert verify_folder(folder, key).ok
    return len(lines)


def tampering(folder: Path, flip_count: int, replay_count: int, seed: int) -> JsonDict:
    """All of it on an export of twelve cases."""
    with SqliteStore(folder / "car" / "store.sqlite", "car-1", ManualClock(1, UTC_NS)) as store:
        store.commit([opened(k, pictures=2) for k in range(12)])
        key = store.key.public
        export(store.path, folder / "export")
    return {
        "flips_found": flips(folder / "export", key, flip_count, seed),
        "replays_found": replays(folder / "export", key, replay_count, seed),
        "removals_found": removals(folder / "export", key),
    }
