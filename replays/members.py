"""CSV members of a drive folder, strictly read: every complaint names file, line and remedy."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gnss.types import Fix, FixQuality, Motion
from perception.errors import DriveError

Stamps = NDArray[np.int64]

CAMERA_COLUMNS = ("index", "stamp_ns")
GNSS_COLUMNS = ("stamp_ns", "offset")
FIX_COLUMNS = (
    "stamp_ns", "utc_ns", "lat_deg", "lon_deg", "alt_m", "h_acc_m", "speed_mps", "course_deg", "course_acc_deg",
    "quality", "satellites", "hdop",
)  # fmt: skip
FIX_FURTHER = ("v_acc_m", "speed_acc_mps", "heading_deg", "heading_acc_deg")
MOTION_COLUMNS = ("stamp_ns", "speed_mps", "yaw_rate_dps")
MOTION_FURTHER = ("accel_mps2",)


@dataclass(frozen=True, slots=True)
class Row:
    """One CSV row with its place, so that a complaint can name it. An empty field means unknown (None)."""

    file: Path
    line: int
    fields: Mapping[str, str]

    def error(self, problem: str, remedy: str) -> DriveError:
        """A DriveError at this row."""
        return DriveError(problem, file=self.file, line=self.line, remedy=remedy)

    def integer(self, name: str) -> int:
        """The whole number in column `name`; raises DriveError when it is empty or not one."""
        value = self._number(name, int)
        if value is None:
            raise self.error(f"column {name!r} is empty", "every row needs it: write it or delete the row")
        return int(value)

    def integer_or_none(self, name: str) -> int | None:
        """The whole number in column `name`, None when empty."""
        value = self._number(name, int)
        return None if value is None else int(value)

    def real(self, name: str) -> float:
        """The finite number in column `name`; raises DriveError when it is empty."""
        value = self._number(name, float)
        if value is None:
            raise self.error(f"column {name!r} is empty", "every row needs it: write it or delete the row")
        return value

    def real_or_none(self, name: str) -> float | None:
        """The finite number in column `name`, None when empty."""
        return self._number(name, float)

    def _number(self, name: str, convert: Callable[[str], float]) -> float | None:
        text = self.fields.get(name, "").strip()
        if not text:
            return None
        try:
            value = convert(text)
        except ValueError:
            kind = "a whole number" if convert is int else "a number"
            raise self.error(f"column {name!r} holds {text!r}, which is not {kind}", "mend the value") from None
        if not math.isfinite(value):
            raise self.error(f"column {name!r} holds {text!r}", "leave the field empty when the value is unknown")
        return value


def csv_rows(file: Path, columns: Sequence[str], further: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the rows of a CSV whose header holds all of `columns`, and beyond them at most names of `further`."""
    try:
        stream = file.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise DriveError(f"cannot be read: {error.strerror}", file=file, remedy="restore the file") from error
    with stream:
        reader = csv.reader(stream)
        try:
            header = [name.strip() for name in next(reader, [])]
            _check_header(file, header, columns, further)
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    problem = f"{len(cells)} fields under a header of {len(header)}"
                    raise DriveError(problem, file=file, line=reader.line_num, remedy="mend or delete the row")
                yield Row(file, reader.line_num, dict(zip(header, cells, strict=True)))
        except (UnicodeDecodeError, csv.Error) as error:
            problem = f"is not a UTF-8 CSV here: {error}"
            raise DriveError(problem, file=file, line=reader.line_num + 1, remedy="mend or restore the file") from error


def _check_header(file: Path, header: Sequence[str], columns: Sequence[str], further: Sequence[str]) -> None:
    remedy = f"the header must be {','.join(columns)}" + (
        f"; further columns may be {', '.join(further)}" if further else ""
    )
    for name in columns:
        if name not in header:
            raise DriveError(f"column {name!r} is missing", file=file, line=1, remedy=remedy)
    for name in header:
        if name not in columns and name not in further:
            raise DriveError(f"column {name!r} is not known", file=file, line=1, remedy=remedy)
        if header.count(name) > 1:
            raise DriveError(f"column {name!r} stands there twice", file=file, line=1, remedy=remedy)


def _refuse_going_back(row: Row, stamp_ns: int, last_ns: int | None, strict: bool) -> None:
    if last_ns is not None and (stamp_ns < last_ns or (strict and stamp_ns == last_ns)):
        word = "repeats" if stamp_ns == last_ns else "goes back behind"
        raise row.error(
            f"stamp_ns {stamp_ns} {word} {last_ns} of the row before", "stamps are monotonic: sort or mend the rows"
        )


def read_camera_csv(file: Path) -> tuple[Stamps, Stamps]:
    """Frame indices and stamps (N,) int64 of a camera, both strictly rising. An empty table is an error."""
    indices: list[int] = []
    stamps: list[int] = []
    for row in csv_rows(file, CAMERA_COLUMNS):
        index, stamp_ns = row.integer("index"), row.integer("stamp_ns")
        _refuse_going_back(row, stamp_ns, stamps[-1] if stamps else None, strict=True)
        if index < 0 or (indices and index <= indices[-1]):
            raise row.error(f"index {index} does not rise", "number the frames upwards from 0")
        indices.append(index)
        stamps.append(stamp_ns)
    if not stamps:
        raise DriveError(
            "has no rows", file=file, line=1, remedy="write index,stamp_ns of each frame, one row per frame"
        )
    return np.array(indices, np.int64), np.array(stamps, np.int64)


def read_gnss_csv(file: Path, size: int) -> list[tuple[int, int]]:
    """(stamp_ns, offset) rows of gnss.csv for a gnss.nmea of `size` bytes; stamps never fall, offsets rise."""
    rows: list[tuple[int, int]] = []
    for row in csv_rows(file, GNSS_COLUMNS):
        stamp_ns, offset = row.integer("stamp_ns"), row.integer("offset")
        _refuse_going_back(row, stamp_ns, rows[-1][0] if rows else None, strict=False)
        if offset < 0 or offset > size or (rows and offset < rows[-1][1]):
            raise row.error(
                f"offset {offset} is not in order or beyond the {size} bytes of gnss.nmea",
                "restore both files from one recording",
            )
        rows.append((stamp_ns, offset))
    if not rows:
        raise DriveError(
            "has no rows", file=file, line=1, remedy="restore it, or delete it and set start_utc in drive.toml"
        )
    return rows


def read_fixes_csv(file: Path) -> tuple[list[Fix], int]:
    """Fixes of fixes.csv in order, and how many rows held none (quality 0)."""
    fixes: list[Fix] = []
    invalid = 0
    last_ns: int | None = None
    for row in csv_rows(file, FIX_COLUMNS, FIX_FURTHER):
        stamp_ns = row.integer("stamp_ns")
        _refuse_going_back(row, stamp_ns, last_ns, strict=False)
        last_ns = stamp_ns
        quality = _quality(row)
        if quality is FixQuality.INVALID:
            invalid += 1
        else:
            fixes.append(_fix(row, stamp_ns, quality))
    return fixes, invalid


def _quality(row: Row) -> FixQuality:
    number = row.integer_or_none("quality")
    try:
        return FixQuality.SINGLE if number is None else FixQuality(number)
    except ValueError:
        raise row.error(f"quality {number} does not exist", "use the NMEA GGA number 0 to 8") from None


def _fix(row: Row, stamp_ns: int, quality: FixQuality) -> Fix:
    lat, lon = row.real("lat_deg"), row.real("lon_deg")
    if abs(lat) > 90 or abs(lon) > 180:
        raise row.error(f"position {lat}, {lon} is not on the earth", "lat_deg lies in -90..90, lon_deg in -180..180")
    for name in ("h_acc_m", "v_acc_m", "course_acc_deg", "heading_acc_deg", "hdop"):
        value = row.real_or_none(name)
        if value is not None and value <= 0:
            raise row.error(f"{name} {value} is not positive", "leave the field empty when it is unknown")
    return Fix(
        stamp_ns, row.integer_or_none("utc_ns"), lat, lon, row.real_or_none("alt_m"), row.real_or_none("h_acc_m"),
        row.real_or_none("speed_mps"), row.real_or_none("course_deg"), row.real_or_none("course_acc_deg"), quality,
        row.integer_or_none("satellites"), row.real_or_none("hdop"), row.real_or_none("v_acc_m"),
        row.real_or_none("speed_acc_mps"), row.real_or_none("heading_deg"), row.real_or_none("heading_acc_deg"),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class MotionColumns:
    """motion.csv as columns (N,), NaN for unknown: a day at 100 Hz fits in memory, its objects would not."""

    stamp_ns: Stamps
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.stamp_ns)

    def __iter__(self) -> Iterator[Motion]:
        for stamp_ns, values in zip(self.stamp_ns, self.values, strict=True):
            speed, yaw_rate, accel = (None if math.isnan(value) else float(value) for value in values)
            yield Motion(int(stamp_ns), speed, yaw_rate, accel)


def read_motion_csv(file: Path) -> MotionColumns:
    """Motion samples in order of their stamps."""
    stamps: list[int] = []
    values: list[tuple[float, float, float]] = []
    for row in csv_rows(file, MOTION_COLUMNS, MOTION_FURTHER):
        stamp_ns = row.integer("stamp_ns")
        _refuse_going_back(row, stamp_ns, stamps[-1] if stamps else None, strict=False)
        stamps.append(stamp_ns)
        speed, yaw_rate, accel = (row.real_or_none(n) for n in ("speed_mps", "yaw_rate_dps", "accel_mps2"))
        values.append(tuple(math.nan if v is None else v for v in (speed, yaw_rate, accel)))  # type: ignore[arg-type]
    return MotionColumns(np.array(stamps, np.int64), np.array(values, np.float64).reshape(-1, 3))
