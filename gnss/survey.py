"""Reads a whole city once, keeps what can be used and reports the rest: ids, geometries, overlaps, holes, strays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import shapely
from shapely import STRtree

from gnss.atlas import metres_per_degree
from gnss.city import Component, Grid, Place, Road, Zone
from gnss.cityfile import LAYERS, CityFile
from gnss.cityrows import ACCURACY_CLASSES, Row, duplicate, rows
from gnss.features import FeatureError
from gnss.findings import ERROR, Issue, Report

Progress = Callable[[str, int], None]
"""Told the member and how many of its features are done, every some thousand."""

BATCH = 10_000
LEAST_AREA_M2 = 1.0
"""Smaller overlaps and holes between grids come from rounding."""

ROUNDING_DEG = 1e-7
"""About a centimetre: borders that miss each other by less are one."""

_T = TypeVar("_T")


Put = Callable[[str, list[Any]], None]
"""Takes what can be used: the name of a member and some of its things, in order."""


def _forget(key: str, things: list[Any]) -> None:
    """Nobody wants them."""


def survey(city: CityFile, put: Put | None = None, progress: Progress | None = None) -> Report:
    """Read every member; raises AtlasError when a file as a whole cannot be read. Features in error are left out."""
    report, take, tell = Report(), put or _forget, progress or _silent
    ground: Ground | None = None
    for key in LAYERS:
        if key not in city.members:
            continue
        unique = _Unique()
        kept: list[Grid] = []
        done = 0
        for batch in _batches(_numbered(rows(city, key)), BATCH):
            good = _usable(city, key, batch, unique, report)
            if key == "grids":
                kept.extend(grid for _, grid in good)
            good = _inspected(key, good, ground, report)
            report.read[key] += len(good)
            take(key, [thing for _, thing in good])
            done += len(batch)
            tell(key, done)
        if key == "grids":
            ground = Ground(kept)
            ground.inspect(report)
    return report


def _silent(member: str, done: int) -> None:
    pass


def _numbered(things: Iterator[Row | FeatureError]) -> Iterator[tuple[int, Row | FeatureError]]:
    return enumerate(things, 1)


def _batches(things: Iterator[_T], size: int) -> Iterator[list[_T]]:
    while batch := list(islice(things, size)):
        yield batch


class _Unique:
    """Which ids were there before. Numbers of up to 18 digits are held as such: 2,000,000 in 100 MB, not 300."""

    def __init__(self) -> None:
        self._first: dict[int | str, int] = {}

    def before(self, name: str, number: int) -> int | None:
        """Number of the feature that had this id first; None when this one is the first."""
        key: int | str = int(name) if name.isascii() and name.isdigit() and name[0] != "0" else name
        first = self._first.setdefault(key, number)
        return None if first == number else first


def _usable(
    city: CityFile, key: str, batch: list[tuple[int, Any]], unique: _Unique, report: Report
) -> list[tuple[int, Any]]:
    good = []
    for number, row in batch:
        if isinstance(row, FeatureError):
            report.error(key, row)
            continue
        first = unique.before(row.id, number)
        if first is not None:
            report.error(key, duplicate(city, key, number, row.id, first))
        else:
            good.append((number, row))
    return good


def _inspected(key: str, good: list[tuple[int, Any]], ground: Ground | None, report: Report) -> list[tuple[int, Any]]:
    """Checks that need the rest of the city; what is surely wrong is taken out."""
    if key == "components":
        for number, thing in good:
            _check_component(number, thing, report)
    if ground is None or not good or key == "grids":
        return good
    places = np.array([_place(thing) for _, thing in good])
    inside = ground.holds(places)
    swapped = ~inside & ground.holds(places[:, ::-1])
    for row in np.flatnonzero(~inside).tolist():
        number, thing = good[row]
        lon, lat = places[row].tolist()
        where = f"feature {number}: {thing.id} at lat {lat:.6f}, lon {lon:.6f}"
        if swapped[row]:
            problem = f"{where} lies in the city when the two are exchanged"
            report.add(Issue(ERROR, "swapped", key, number, problem, "write longitude first"))
        else:
            report.warn("outside", key, number, f"{where} lies in no grid", "check its place, its datum, or the grids")
    return [row for row, wrong in zip(good, swapped.tolist(), strict=True) if not wrong]


def _place(thing: Zone | Component | Road | Place) -> tuple[float, float]:
    if isinstance(thing, Component | Place):
        return thing.lon_deg, thing.lat_deg
    shape = thing.polygon if isinstance(thing, Zone) else thing.line
    west, south, east, north = shape.bounds
    return 0.5 * (west + east), 0.5 * (south + north)


def _check_component(number: int, thing: Component, report: Report) -> None:
    if thing.accuracy_class is not None and thing.accuracy_class not in ACCURACY_CLASSES:
        said = f"feature {number}: {thing.id} has accuracy class {thing.accuracy_class!r}"
        report.warn("accuracy", "components", number, said, "write A, B or C; it is read as B")
    if len(thing.id) == 17 and thing.code != thing.id[6:11]:
        said = f"feature {number}: {thing.id} has code {thing.code[:20]!r}, its id says {thing.id[6:11]}"
        report.warn("code", "components", number, said, "make them agree; the code is what is used")


class Ground:
    """The unit grids of a city as one piece of ground."""

    def __init__(self, grids: list[Grid]) -> None:
        self._grids = grids
        self._shapes = np.array([grid.polygon for grid in grids], dtype=object)
        self._tree = STRtree(self._shapes)

    def holds(self, places: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which of the places (N, 2) lon, lat lie in a grid; all, when there are no grids."""
        found = np.zeros(len(places), np.bool_)
        if not len(self._grids):
            return ~found
        found[self._tree.query(shapely.points(places), predicate="intersects")[0]] = True
        return found

    def inspect(self, report: Report) -> None:
        """Report overlaps, holes and missing numbers."""
        if not self._grids:
            return
        self._overlaps(report)
        self._holes(report)
        self._sequences(report)

    def _square_m(self) -> float:
        """Square metres in a square degree here."""
        _, south, _, north = shapely.total_bounds(self._shapes)
        m_lat, m_lon = metres_per_degree(0.5 * (south + north))
        return float(m_lat * m_lon)

    def _overlaps(self, report: Report) -> None:
        left, right = self._tree.query(self._shapes, predicate="intersects")
        pairs = left < right
        left, right = left[pairs], right[pairs]
        scale = self._square_m()
        for start in range(0, len(left), BATCH):
            a, b = left[start : start + BATCH], right[start : start + BATCH]
            area = shapely.area(shapely.intersection(self._shapes[a], self._shapes[b])) * scale
            for row in np.flatnonzero(area > LEAST_AREA_M2).tolist():
                one, two = self._grids[a[row]].id, self._grids[b[row]].id
                said = f"{one} and {two} share {area[row]:.0f} m2"
                report.warn("overlap", "grids", int(b[row]) + 1, said, "redraw the border; the first of the file wins")

    def _holes(self, report: Report) -> None:
        scale = self._square_m()
        for part in shapely.get_parts(shapely.union_all(self._shapes, grid_size=ROUNDING_DEG)):
            for index in range(shapely.get_num_interior_rings(part)):
                hole = shapely.polygons(shapely.get_interior_ring(part, index))
                area = float(shapely.area(hole)) * scale
                if area > LEAST_AREA_M2:
                    middle = hole.representative_point()
                    said = f"{area:.0f} m2 around lat {middle.y:.6f}, lon {middle.x:.6f} lie in no grid"
                    report.warn("gap", "grids", None, said, "add the missing grid, or close the border")

    def _sequences(self, report: Report) -> None:
        communities: dict[str, set[int]] = defaultdict(set)
        for grid in self._grids:
            if grid.id[12:].isdigit():
                communities[grid.id[:12]].add(int(grid.id[12:]))
        for name, numbers in sorted(communities.items()):
            missing = sorted(set(range(1, max(numbers) + 1)) - numbers)
            if missing:
                shown = ", ".join(f"{n:03d}" for n in missing[:10]) + (" ..." if len(missing) > 10 else "")
                said = f"community {name} has {len(numbers)} grids and lacks {shown}"
                report.warn("sequence", "grids", None, said, "add them, or take the city's word that they were closed")
