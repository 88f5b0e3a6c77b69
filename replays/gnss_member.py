"""The fixes of a drive: from raw receiver bytes with arrival stamps, from those by their own UTC, or from fixes.csv."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gnss.fixes import FixStream
from gnss.nmea import stamped_by_utc
from gnss.refusal import Refusal
from gnss.stream import StreamReader
from gnss.types import Fix
from perception.errors import DriveError
from replays.members import read_fixes_csv, read_gnss_csv


@dataclass(frozen=True, slots=True, eq=False)
class GnssMember:
    """`file` the fixes came from; `dropped` counts data that were no fix, by reason."""

    file: Path
    fixes: tuple[Fix, ...]
    dropped: dict[str, int]


def read_gnss(folder: Path, start_utc_ns: int | None, latency_s: float) -> GnssMember:
    """Fixes of a drive folder in order of stamps; raises DriveError when there is no member, or no fix in it."""
    nmea, table = folder / "gnss.nmea", folder / "fixes.csv"
    if nmea.exists() and table.exists():
        raise DriveError(
            "stands beside gnss.nmea", file=table, remedy="keep one of the two: which fixes hold is not guessed"
        )
    if nmea.exists():
        member = _from_nmea(nmea, folder / "gnss.csv", start_utc_ns, latency_s)
    elif table.exists():
        fixes, invalid = read_fixes_csv(table)
        member = GnssMember(table, tuple(fixes), {"quality 0": invalid} if invalid else {})
    else:
        raise DriveError("has no fixes", file=folder, remedy="add gnss.nmea (with gnss.csv) or fixes.csv")
    if not member.fixes:
        why = ", ".join(f"{count} x {reason}" for reason, count in sorted(member.dropped.items())) or "it is empty"
        remedy = "a drive needs at least one fix: record again with sky in view, or give the fixes in fixes.csv"
        raise DriveError(f"holds no usable fix ({why})", file=member.file, remedy=remedy)
    return member


def _from_nmea(file: Path, arrivals: Path, start_utc_ns: int | None, latency_s: float) -> GnssMember:
    data = file.read_bytes()
    if arrivals.exists():
        stream = FixStream(latency_s)
        rows = read_gnss_csv(arrivals, len(data))
        ends = [offset for _, offset in rows[1:]] + [len(data)]
        found = [
            fix
            for (stamp_ns, offset), end in zip(rows, ends, strict=True)
            for fix in stream.feed(data[offset:end], stamp_ns)
        ]
        found += stream.flush()
        return _in_order(file, found, stream.counters)
    if start_utc_ns is None:
        remedy = "add start_utc (UTC of stamp_ns 0), or gnss.csv with the arrival stamps"
        raise DriveError(
            "key 'start_utc' is missing and there is no gnss.csv", file=file.parent / "drive.toml", remedy=remedy
        )
    reader = StreamReader()
    found = reader.feed(data, 0) + reader.flush()
    stamped = [moved for fix in found if (moved := stamped_by_utc(fix, start_utc_ns)) is not None]
    return _in_order(file, stamped, reader.counters, len(found))


def _in_order(file: Path, fixes: list[Fix], counters: dict[Refusal, int], found: int | None = None) -> GnssMember:
    """Drop and count what goes back in time: a log with a jumping clock is bad data, not a setup mistake."""
    kept: list[Fix] = []
    for fix in fixes:
        if not kept or fix.stamp_ns >= kept[-1].stamp_ns:
            kept.append(fix)
    dropped = {reason.value: count for reason, count in counters.items() if count}
    for reason, count in (("time goes back", len(fixes) - len(kept)), ("no UTC", (found or len(fixes)) - len(fixes))):
        if count:
            dropped[reason] = count
    return GnssMember(file, tuple(kept), dropped)
