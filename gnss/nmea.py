"""The reader of receiver bytes under the name it had when it read NMEA only; see gnss/stream.py."""

from __future__ import annotations

from dataclasses import replace

from gnss.refusal import Refusal
from gnss.stream import StreamReader
from gnss.types import Fix

__all__ = ["NmeaReader", "NmeaReason", "stamped_by_utc"]

NmeaReader = StreamReader
NmeaReason = Refusal


def stamped_by_utc(fix: Fix, start_utc_ns: int) -> Fix | None:
    """The fix with the stamp its UTC gives when stamp 0 is `start_utc_ns`; None when the fix has no UTC."""
    return None if fix.utc_ns is None else replace(fix, stamp_ns=fix.utc_ns - start_utc_ns)
