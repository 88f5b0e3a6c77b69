"""Walks well-known binary before GEOS builds it: its reader calls itself for each level, until the stack ends.

Points, lines and polygons, and collections of one kind of them; in 2 to 4 dimensions, ISO or EWKB (OGC 06-103r4 8.2).
"""

from __future__ import annotations

import struct

from gnss.features import MOST_VERTICES, too_many

_Z, _M, _SRID = 0x80000000, 0x40000000, 0x20000000
_MOST_PARTS = 1_000_000


def check_wkb(wkb: bytes) -> None:
    """Raise ValueError when the bytes are cut, nested, of another kind, or promise more than they hold.

    Raises GeometryError (a ValueError too) for more than `MOST_VERTICES`.
    """
    try:
        count, end = _geometry(wkb, 0, inside=False)
    except struct.error:
        raise ValueError("the geometry is cut") from None
    if end > len(wkb):
        raise ValueError("the geometry is cut")
    if count > MOST_VERTICES:
        raise too_many(count)


def _geometry(wkb: bytes, at: int, *, inside: bool) -> tuple[int, int]:
    """Vertices of the geometry at an offset, and where it ends."""
    if wkb[at : at + 1] not in (b"\0", b"\1"):
        raise ValueError("the geometry has no byte order")
    order = "<" if wkb[at] else ">"
    (code,) = struct.unpack_from(f"{order}I", wkb, at + 1)
    at += 9 if code & _SRID else 5
    plain = code & 0x1FFFFFFF
    kind, extra = plain % 1000, plain // 1000
    if extra > 3 or not 1 <= kind <= (3 if inside else 6):
        raise ValueError(f"a geometry of kind {plain} is not read here")
    width = 16 + 8 * (bool(code & _Z) or extra in (1, 3)) + 8 * (bool(code & _M) or extra in (2, 3))
    if kind == 1:
        return 1, at + width
    (parts,) = struct.unpack_from(f"{order}I", wkb, at)
    at += 4
    if kind == 2:
        return parts, _within(wkb, at + parts * width)
    if parts > _MOST_PARTS:
        raise ValueError(f"a geometry of {parts} parts")
    count = 0
    for _ in range(parts):
        if kind == 3:
            (points,) = struct.unpack_from(f"{order}I", wkb, at)
            at = _within(wkb, at + 4 + points * width)
        else:
            points, at = _geometry(wkb, at, inside=True)
        count += points
    return count, at


def _within(wkb: bytes, end: int) -> int:
    if end > len(wkb):
        raise ValueError("the geometry is cut")
    return end
