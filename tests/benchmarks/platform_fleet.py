"""Intake of a fleet on PostgreSQL beside pgbench: `python -m tests.benchmarks.platform_fleet [--vehicles 200]`.

Vehicles deliver at the same time, each over one connection, the next event after the receipt of the last, as the sender
does. Every receipt is checked, and at the end every gap and every case. The rate is reported as a ratio to pgbench's
TPC-B transactions on the same server (fsync on) with as many connections as the platform has, so that it says
something on another machine too. Needs root and Debian's PostgreSQL.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from gnss.clock import SystemClock, stopwatch
from tests.uplink.builders import change
from tests.uplink.platform import postgres
from tests.uplink.platform.talk import EPOCH, body, made_of, sighting
from uplink.transport import content_digest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a fleet's delivery saw."""

    statuses: Counter[int]
    seconds: float
    retries: int

    @property
    def rate(self) -> float:
        """New events per second."""
        return self.statuses[201] / self.seconds


def event(vehicle: int, seq: int) -> bytes:
    """An HTTP request that delivers a new case of its own."""
    device = f"car-{vehicle:03d}"
    lat, lon = 30.0 + vehicle * 2e-3, 120.0 + seq * 3e-4
    made = made_of(f"{device}-{seq}", [sighting(f"{device}/w{seq}", 0.01 * seq, lat, lon)], device)
    content = body(change(made), seq, device)
    digest = content_digest(hashlib.sha256(content).hexdigest())
    head = (
        f"PUT /v1/devices/{device}/events/{device}:{EPOCH}:{seq} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Digest: {digest}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bytes]:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    content = await reader.readexactly(int(length[1])) if length else b""
    return int(head[9:12]), content


async def _vehicle(port: int, vehicle: int, requests_: list[bytes], seen: Counter[int], retries: Counter[str]) -> None:
    """One vehicle: in order, one at a time; after a broken connection or 5xx it tries the same event again."""
    link: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    for seq, request in enumerate(requests_, 1):
        while True:
            try:
                link = link or await asyncio.open_connection("127.0.0.1", port)
                status, content = await _ask(*link, request)
            except (OSError, asyncio.IncompleteReadError):
                if link is not None:
                    link[1].close()
                link, status, content = None, 0, b""
            if status in (200, 201):
                assert json.loads(content)["uid"] == f"car-{vehicle:03d}:{EPOCH}:{seq}"
                seen[status] += 1
                break
            retries[str(status)] += 1
            await asyncio.sleep(0.05)
    if link is not None:
        link[1].close()


def deliver_all(port: int, vehicles: int, events: int) -> Fleet:
    """Everything from everybody at once."""
    plans = [[event(v, seq) for seq in range(1, events + 1)] for v in range(vehicles)]
    seen: Counter[int] = Counter()
    retries: Counter[str] = Counter()

    async def all_at_once() -> float:
        passed = stopwatch()
        await asyncio.gather(*(_vehicle(port, v, plan, seen, retries) for v, plan in enumerate(plans)))
        return passed()

    seconds = asyncio.run(all_at_once())
    return Fleet(seen, seconds, sum(retries.values()))


@contextmanager
def served(folder: Path, url: str | None, workers: int, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`qiji platform serve` as a process of its own; ended with SIGTERM, which must end it well."""
    command = [sys.executable, "-m", "vehicle", "platform", "serve", "--data", str(folder), "--port", str(port)]
    command += ["--workers", str(workers)] + (["--database", url] if url else [])
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            _wait(port, process)
            yield process
        finally:
            process.terminate()
            assert process.wait(60) == 0


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"the platform ended with {process.returncode}")
        try:
            if requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200:
                return
        except requests.ConnectionError:
            SystemClock().sleep(0.05)
    raise RuntimeError("the platform never answered")


def gaps(port: int, vehicles: int, events: int) -> int:
    """How many events the platform misses, by its own heartbeat replies."""
    missing = 0
    for v in range(vehicles):
        beat = {
            "epoch": EPOCH, "max_seq": events, "oldest_unacked": None, "loss": {}, "chain_head": "", "health": {},
            "backlog": {"events": 0, "blobs": 0, "bytes": 0},
        }  # fmt: skip
        address = f"http://127.0.0.1:{port}/v1/devices/car-{v:03d}/heartbeat"
        found = requests.post(address, json=beat, timeout=20).json()["gaps"]
        missing += sum(last - first + 1 for first, last in found)
    return missing


def pgbench(url: str, clients: int, seconds: int) -> float:
    """TPC-B transactions per second on the same server."""
    tools = postgres.binaries()
    assert tools is not None
    host = url.partition("host=")[2]
    base = [str(tools / "pgbench"), "-h", host, "-U", "postgres"]
    subprocess.run([*base, "-i", "-s", "10", "-q", "postgres"], check=True, capture_output=True)
    command = [*base, "-c", str(clients), "-j", "2", "-T", str(seconds), "postgres"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"tps = ([0-9.]+) \(without", told)
    assert found is not None, told
    return float(found[1])


def main() -> None:
    """Rounds of both in turn; the median of the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--vehicles", type=int, default=200)
    parser.add_argument("--events", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=8677)
    arguments = parser.parse_args()
    why = postgres.missing()
    if why:
        raise SystemExit(why)
    ratios = []
    with postgres.server() as url, tempfile.TemporaryDirectory() as folder:
        for k in range(arguments.rounds):
            postgres.emptied(url)
            with served(Path(folder) / str(k), url, arguments.workers, arguments.port):
                fleet = deliver_all(arguments.port, arguments.vehicles, arguments.events)
                missing = gaps(arguments.port, arguments.vehicles, arguments.events)
                listed = requests.get(f"http://127.0.0.1:{arguments.port}/v1/cases?limit=1", timeout=60).json()["total"]
            tps = pgbench(url, arguments.workers * 8, 8)
            ratios.append(fleet.rate / tps)
            print(
                f"round {k + 1}: {fleet.rate:.0f} new events/s with {arguments.workers} workers, pgbench {tps:.0f} "
                f"transactions/s: ratio {ratios[-1]:.2f}; {dict(fleet.statuses)}, {fleet.retries} retries, "
                f"{missing} missing, {listed} cases"
            )
    print(f"median ratio {sorted(ratios)[len(ratios) // 2]:.2f}")


if __name__ == "__main__":
    main()
