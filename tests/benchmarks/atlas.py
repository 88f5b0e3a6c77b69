"""`python -m tests.benchmarks.atlas`: a generated city of 50,000 grids and 2,000,000 components, imported and asked.

Prints the time and peak memory of the import, the time to open, the memory of the opened atlas, and the median time of
grid + zones + component for one landmark beside a bare shapely STRtree query in the same run. Nothing is asserted.
Importing and asking run in processes of their own, so that each memory figure is its own.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from gnss.clock import stopwatch
from gnss.store import connect, open_atlas

LAT, LON = 30.10, 120.00
DIVISION = "330106"
CODES = ("01001", "01002", "01003", "01037", "01030", "02010", "02014", "03005", "04002")
SIGMA2_M2 = 0.6**2


def write_city(folder: Path, grids: int, components: int, zones: int, seed: int = 1) -> Path:
    """A city of square grids 120 m wide in degrees, zones along their borders, components at random; its city.toml."""
    rng = np.random.default_rng(seed)
    side = math.ceil(math.sqrt(grids))
    step_lat, step_lon = 120.0 / 110_900.0, 120.0 / 96_400.0
    with (folder / "grids.geojson").open("w", encoding="utf-8") as out:
        out.write('{"type":"FeatureCollection","features":[\n')
        for n in range(grids):
            row, column = divmod(n, side)
            name = f"{DIVISION}{n // 999 // 999 + 1:03d}{n // 999 % 999 + 1:03d}{n % 999 + 1:03d}"
            ring = _square(LON + column * step_lon, LAT + row * step_lat, step_lon, step_lat)
            out.write((",\n" if n else "") + _feature({"id": name, "name": f"网格{n}"}, ring))
        out.write("\n]}\n")
    with (folder / "zones.geojson").open("w", encoding="utf-8") as out:
        out.write('{"type":"FeatureCollection","features":[\n')
        for n in range(zones):
            row, column = divmod(int(rng.integers(grids)), side)
            kind = ("no_parking", "no_stopping", "parking_bay", "vending_allowed")[n % 4]
            ring = _square(LON + column * step_lon, LAT + row * step_lat, step_lon, 3e-5)
            out.write((",\n" if n else "") + _feature({"id": f"z{n}", "kind": kind, "hours": "07:00-22:00"}, ring))
        out.write("\n]}\n")
    rows = math.ceil(grids / side)
    with (folder / "components.csv").open("w", encoding="utf-8") as out:
        out.write("id,type,lon,lat,accuracy_class\n")
        for start in range(0, components, 100_000):
            count = min(100_000, components - start)
            place = rng.random((count, 2)) * (side * step_lon, (rows - 1 or 1) * step_lat) + (LON, LAT)
            types = rng.integers(len(CODES), size=count)
            lines = [
                f"{DIVISION}{CODES[k]}{(start + i) % 1_000_000:06d},t{k},{x:.7f},{y:.7f},{'ABC'[i % 3]}\n"
                for i, (k, (x, y)) in enumerate(zip(types.tolist(), place.tolist(), strict=True))
            ]
            out.writelines(_distinct(lines, start))
    city = folder / "city.toml"
    city.write_text(
        f'version = 1\nname = "生成的城市"\ndivision = "{DIVISION}"\ndatum = "CGCS2000"\n'
        'grids = "grids.geojson"\nzones = "zones.geojson"\ncomponents = "components.csv"\n',
        encoding="utf-8",
    )
    return city


def _distinct(lines: list[str], start: int) -> list[str]:
    """Beyond a million, numbers of a type would come again: later ones go to types of their own."""
    if start < 1_000_000:
        return lines
    return [f"{line[:6]}05{line[8:]}" for line in lines]


def _square(x: float, y: float, dx: float, dy: float) -> list[list[float]]:
    corners = [(0.0, 0.0), (dx, 0.0), (dx, dy), (0.0, dy), (0.0, 0.0)]
    return [[round(x + a, 9), round(y + b, 9)] for a, b in corners]


def _feature(properties: dict[str, Any], ring: list[list[float]]) -> str:
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return json.dumps({"type": "Feature", "properties": properties, "geometry": geometry}, ensure_ascii=False)


def peak_mb() -> float:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def resident_mb() -> float:
    """Resident size of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def do_import(city: Path, out: Path) -> dict[str, Any]:
    """Import, with what it took."""
    from gnss.importer import import_city

    watch = stopwatch()
    done = import_city(city, out, imported_utc="2026-11-24T00:00:00Z", progress=_say)
    return {
        "import_s": watch(), "peak_mb": peak_mb(), "file_mb": out.stat().st_size / 1e6, "read": dict(done.report.read),
        "warnings": done.report.as_dict()["warnings"],
    }  # fmt: skip


def _say(member: str, done: int) -> None:
    if done % 500_000 == 0:
        print(f"  {member}: {done:,}", file=sys.stderr)


def do_ask(file: Path, questions: int, seed: int = 2) -> dict[str, Any]:
    """Open and ask about places beside zones and components, as the rules do for one landmark."""
    before = resident_mb()
    watch = stopwatch()
    atlas = open_atlas(file)
    opened_s, opened_mb = watch(), resident_mb()
    from perception.rules import match_component

    places = _places(file, questions, seed)
    codes, cov = frozenset(CODES[:4]), SIGMA2_M2 * np.eye(2)
    times, found = [], [0, 0, 0]
    for lon, lat in places.tolist():
        watch = stopwatch()
        grid = atlas.grid_at(lat, lon)
        zones = atlas.zones_near(lat, lon, 30.0)
        match = match_component(atlas, codes, lat, lon, cov, 8.0)
        times.append(watch() * 1e3)
        found = [found[0] + (grid is not None), found[1] + len(zones), found[2] + (match is not None)]
    median_ms = float(np.median(times))
    result = {
        "open_s": opened_s, "process_mb": before, "opened_mb": opened_mb, "after_questions_mb": resident_mb(),
        "median_ms": median_ms, "p99_ms": float(np.quantile(times, 0.99)), "found": found,
    }  # fmt: skip
    return result | _bare(atlas, places, median_ms)


def _places(file: Path, questions: int, seed: int) -> np.ndarray[Any, Any]:
    """Where landmarks are (N, 2) lon, lat: half in walks of 20 along a zone, half within a metre of a component."""
    import shapely

    rng = np.random.default_rng(seed)
    with closing(connect(file)) as db:
        counts = {name: db.execute(f"SELECT MAX(n) FROM {name}").fetchone()[0] for name in ("zone", "component")}
        walks = []
        for n in rng.integers(1, counts["zone"] + 1, size=questions // 40 + 1).tolist():
            (blob,) = db.execute("SELECT shape FROM zone WHERE n = ?", (n,)).fetchone()
            west, south, east, north = shapely.from_wkb(blob).bounds
            walks.append(rng.uniform((west, south - 2e-5), (east, north + 2e-5), (20, 2)))
        beside = []
        for n in rng.integers(1, counts["component"] + 1, size=questions // 2 + 1).tolist():
            lon, lat = db.execute("SELECT lon, lat FROM component WHERE n = ?", (n,)).fetchone()
            beside.append((lon + rng.normal(0.0, 6e-6), lat + rng.normal(0.0, 6e-6)))
    blocks = [*walks, *np.array(beside).reshape(-1, 2)[: questions // 2 // 20 * 20].reshape(-1, 20, 2)]
    order = rng.permutation(len(blocks))
    return np.concatenate([blocks[k] for k in order])[:questions]


def _bare(atlas: Any, places: np.ndarray[Any, Any], median_ms: float) -> dict[str, float]:
    """The same places asked of shapely trees in memory: one query for a grid, one for zones, one for components."""
    import shapely
    from shapely import STRtree

    db = atlas._db
    grids = STRtree([shapely.from_wkb(b) for (b,) in db.execute("SELECT shape FROM grid")])
    zones = STRtree([shapely.from_wkb(b) for (b,) in db.execute("SELECT shape FROM zone")])
    points = STRtree(shapely.points(db.execute("SELECT lon, lat FROM component").fetchall()))
    one, three = [], []
    for lon, lat in places.tolist():
        watch = stopwatch()
        grids.query(shapely.Point(lon, lat), predicate="intersects")
        one.append(watch() * 1e3)
        watch = stopwatch()
        zones.query(shapely.box(lon - 3e-4, lat - 3e-4, lon + 3e-4, lat + 3e-4))
        points.query(shapely.box(lon - 8e-5, lat - 8e-5, lon + 8e-5, lat + 8e-5))
        three.append(one[-1] + watch() * 1e3)
    bare, all_three = float(np.median(one)), float(np.median(three))
    return {
        "bare_query_ms": bare, "ratio_to_bare_query": median_ms / bare,
        "bare_three_ms": all_three, "ratio_to_three_bare": median_ms / all_three,
    }  # fmt: skip


def main() -> None:
    """Generate, import, ask, print."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--grids", type=int, default=50_000)
    p.add_argument("--components", type=int, default=2_000_000)
    p.add_argument("--zones", type=int, default=20_000)
    p.add_argument("--questions", type=int, default=5_000)
    p.add_argument("--import-only", nargs=2, type=Path)
    p.add_argument("--ask-only", type=Path)
    a = p.parse_args()
    if a.import_only is not None:
        print(json.dumps(do_import(*a.import_only)))
    elif a.ask_only is not None:
        print(json.dumps(do_ask(a.ask_only, a.questions)))
    else:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(run(Path(folder), a.grids, a.components, a.zones, a.questions), indent=1))


def run(folder: Path, grids: int, components: int, zones: int, questions: int) -> dict[str, Any]:
    """Everything, in child processes."""
    city, out = write_city(folder, grids, components, zones), folder / "city.atlas"
    told: dict[str, Any] = {}
    for words in (["--import-only", str(city), str(out)], ["--ask-only", str(out), "--questions", str(questions)]):
        command = [sys.executable, "-m", "tests.benchmarks.atlas", *words]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        told |= json.loads(done.stdout)
    return told


if __name__ == "__main__":
    main()
