"""Reads a Shapefile, or a zip with one, by pyshp; members of a zip are read in memory and never unpacked to a disk.

The datum is that of the .prj; the text encoding that of the .cpg, or the one declared in city.toml.
"""

from __future__ import annotations

import io
import lzma
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import shapefile
from pyproj import CRS
from pyproj.exceptions import CRSError
from shapely.geometry import shape

from gnss.datums import ToDegrees
from gnss.errors import AtlasError
from gnss.features import MOST_VERTICES, Feature, FeatureError, GeometryError, too_many

MOST_BYTES = 2 * 1024**3
"""Of one member, unpacked: the format's own limit."""

MOST_RATIO = 200
"""A table of repeated text packs 1:100; a zip bomb 1:1000 and more."""

_KINDS = {1: "Point", 11: "Point", 21: "Point", 3: "", 13: "", 23: "", 5: "", 15: "", 25: ""}
_REMEDY = "export it again"
_BROKEN_ZIP = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, EOFError, ValueError,
    RuntimeError, NotImplementedError, IndexError,
)  # fmt: skip
"""What a broken archive makes zipfile and its packers raise."""

_MOST_PARTS = 10_000

_BROKEN = (
    shapefile.ShapefileException, struct.error, ValueError, TypeError, IndexError, KeyError, OverflowError, MemoryError,
    AttributeError, AssertionError, EOFError, OSError, UnboundLocalError, Warning,
)  # fmt: skip
"""What pyshp raises on files that are cut or changed (found by the fuzz test)."""


class Shapefile:
    """The parts of one layer, in memory. Raises AtlasError when a part is missing, unsafe or too large."""

    def __init__(self, file: Path, layer: str | None = None) -> None:
        self.file = file
        parts = _zipped(file, layer) if file.suffix.lower() == ".zip" else _beside(file)
        for name in ("shp", "dbf"):
            if name not in parts:
                raise AtlasError(f"has no .{name}", file=file, remedy="keep .shp, .shx, .dbf and .prj together")
        self._parts = parts

    def epsg(self) -> int:
        """EPSG code of the .prj, 0 when there is none or PROJ does not know it."""
        try:
            text = self._parts["prj"].decode("utf-8", "replace") if "prj" in self._parts else ""
            return CRS.from_wkt(text[:10_000]).to_epsg() or 0 if text.strip() else 0
        except CRSError as error:
            raise AtlasError(f"the .prj cannot be read ({error})"[:300], file=self.file, remedy=_REMEDY) from error

    def encoding(self) -> str:
        """Text encoding that the .cpg names, else UTF-8."""
        named = self._parts.get("cpg", b"").decode("ascii", "replace").strip()
        return {"": "utf-8", "936": "gb18030", "GBK": "gb18030", "65001": "utf-8"}.get(named.upper(), named)

    def features(
        self, to_degrees: ToDegrees | None, encoding: str | None = None, columns: dict[str, str] | None = None
    ) -> Iterator[Feature | FeatureError]:
        """Features in order, and an error in the place of each record that cannot be read."""
        text = encoding or self.encoding()
        streams = {name: io.BytesIO(self._parts[name]) for name in ("shp", "shx", "dbf") if name in self._parts}
        try:
            "".encode(text)
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # pyshp warns of a header that does not fit the file, and reads on
                reader = shapefile.Reader(**streams, encoding=text)
            count = len(reader)
            names = [field[0] for field in reader.fields if field[0] != "DeletionFlag"]
        except LookupError as error:
            raise AtlasError(
                f"encoding {text[:40]!r} is not known", file=self.file, remedy="declare it in city.toml"
            ) from error
        except _BROKEN as error:
            raise AtlasError(f"is no Shapefile ({str(error)[:120]})", file=self.file, remedy=_REMEDY) from error
        for index in range(count):
            yield self._feature(reader, index, names, to_degrees, columns)

    def _feature(
        self, reader: Any, index: int, names: list[str], to_degrees: ToDegrees | None, columns: dict[str, str] | None
    ) -> Feature | FeatureError:
        number = index + 1
        try:
            row = reader.record(index)
            drawn = reader.shape(index)
            kind = _KINDS.get(drawn.shapeType, "no geometry")
        except UnicodeDecodeError as error:
            problem = f"feature {number}: text is no {error.encoding} ({error.reason})"
            remedy = 'add a .cpg, or write encoding = "gb18030" beside the file in city.toml'
            return FeatureError(problem, file=self.file, remedy=remedy, code="encoding", number=number)
        except _BROKEN as error:
            problem = f"feature {number}: the record cannot be read ({str(error)[:120]})"
            return FeatureError(problem, file=self.file, remedy=_REMEDY, code="geometry", number=number)
        if row is None:
            problem = f"feature {number}: the record is marked as deleted"
            return FeatureError(problem, file=self.file, remedy="pack the table", code="property", number=number)
        properties = dict(zip(names, row, strict=False))
        xy = (drawn.points[0][0], drawn.points[0][1]) if kind == "Point" and drawn.points else None
        return Feature(self.file, number, properties, kind, lambda: _built(drawn), xy, to_degrees, columns)


def _built(drawn: Any) -> Any:
    """The shapely geometry of a record; rings that do not close are refused."""
    if len(drawn.points) > MOST_VERTICES:
        raise too_many(len(drawn.points))
    if len(getattr(drawn, "parts", ())) > _MOST_PARTS:
        raise GeometryError(f"{len(drawn.parts)} rings, at most {_MOST_PARTS} are read", "bomb", "split it")
    if drawn.shapeType in (5, 15, 25):
        ends = [*drawn.parts[1:], len(drawn.points)]
        for start, end in zip(drawn.parts, ends, strict=True):
            if end - start < 4:
                raise GeometryError("a ring has fewer than 4 points", "geometry", "draw it again")
            if tuple(drawn.points[start][:2]) != tuple(drawn.points[end - 1][:2]):
                raise GeometryError("a ring is not closed", "unclosed", "repeat its first point at the end")
    return shape(drawn.__geo_interface__)


def _beside(file: Path) -> dict[str, bytes]:
    parts = {}
    for path in sorted(file.parent.glob("*")):
        if path.stem == file.stem and path.suffix.lower() in (".shp", ".shx", ".dbf", ".prj", ".cpg"):
            try:
                if path.stat().st_size > MOST_BYTES:
                    raise AtlasError("has more than 2 GB", file=path, remedy="split it, or use GeoPackage")
                parts[path.suffix.lower()[1:]] = path.read_bytes()
            except OSError as error:
                raise AtlasError(f"cannot be read ({error.strerror})", file=path, remedy="check its rights") from error
    if "shp" not in parts:
        raise AtlasError("the file is missing", file=file, remedy="add it, or take its key out of city.toml")
    return parts


def _zipped(file: Path, layer: str | None) -> dict[str, bytes]:
    """The parts of the one layer in a zip (or of `layer`); paths that lead out of it, and bombs, are refused."""
    try:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                _check_safe(file, info)
            layers = sorted(i.filename for i in archive.infolist() if i.filename.lower().endswith(".shp"))
            chosen = [name for name in layers if layer is None or PurePosixPath(name).stem == layer]
            if len(chosen) != 1:
                raise AtlasError(
                    f"holds the layers {layers[:20]}" if layers else "holds no .shp", file=file,
                    remedy="name one: { file = ..., layer = ... }" if layers else "zip the Shapefile's parts",
                )  # fmt: skip
            stem = chosen[0][:-4]
            return {
                info.filename[-3:].lower(): archive.read(info)
                for info in archive.infolist()
                if info.filename[:-4] == stem and info.filename[-4:].lower() in (".shp", ".shx", ".dbf", ".prj", ".cpg")
            }
    except FileNotFoundError:
        raise AtlasError("the file is missing", file=file, remedy="add it, or take its key out of city.toml") from None
    except _BROKEN_ZIP as error:
        raise AtlasError(f"is no zip that can be read ({error})", file=file, remedy="zip it again") from error


def _check_safe(file: Path, info: zipfile.ZipInfo) -> None:
    name = info.filename
    if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or ":" in name:
        raise AtlasError(f"holds the path {name[:80]!r}, which leads out of it", file=file, remedy="zip it again")
    if info.file_size > MOST_BYTES or info.file_size > MOST_RATIO * max(info.compress_size, 1024):
        raise AtlasError(
            f"{name[:80]!r} unpacks to {info.file_size} bytes from {info.compress_size}", file=file,
            remedy="store it with less compression, or unpack it",
        )  # fmt: skip
