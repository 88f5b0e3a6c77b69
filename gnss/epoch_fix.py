"""The fix that the messages of one epoch make together."""

from __future__ import annotations

from dataclasses import dataclass, field

from gnss.nmea_sentence import Sentence
from gnss.refusal import Refusal
from gnss.types import Fix, FixQuality
from gnss.ubx import NavAtt, NavCov, NavPvt


@dataclass(slots=True)
class Said:
    """The first sentence of each kind and the UBX messages of one epoch."""

    sentences: dict[str, Sentence] = field(default_factory=dict)
    pvt: NavPvt | None = None
    cov: NavCov | None = None
    att: NavAtt | None = None


def fix_of(said: Said, stamp_ns: int, utc_ns: int | None) -> Fix | Refusal:
    """What the epoch says of the place, or why it gives none. The position is never a mean of two messages' positions.

    Accuracy is what the receiver states (NAV-COV, NAV-PVT, GST, in this order); None when it states none: the ego
    filter then takes HDOP times a factor of the quality.
    """
    gga, rmc = said.sentences.get("GGA"), said.sentences.get("RMC")
    bearers = [bearer for bearer in (said.pvt, gga, rmc) if bearer is not None]
    if not bearers:
        return Refusal.NO_POSITION
    if any(bearer.quality is FixQuality.INVALID for bearer in bearers):
        return Refusal.NO_FIX
    place = next((b for b in bearers if b.lat_deg is not None and b.lon_deg is not None), None)
    if place is None or place.lat_deg is None or place.lon_deg is None:
        return Refusal.NO_POSITION
    pvt, gst = said.pvt, said.sentences.get("GST")
    movers = [m for m in (pvt, rmc, said.sentences.get("VTG")) if m is not None]
    accuracies = [a for a in (said.cov, pvt, gst) if a is not None]
    heading_deg, heading_acc_deg = _heading(said)
    return Fix(
        stamp_ns=stamp_ns,
        utc_ns=utc_ns,
        lat_deg=place.lat_deg,
        lon_deg=place.lon_deg,
        alt_m=next((b.alt_m for b in bearers if b.alt_m is not None), None),
        h_acc_m=next((a.h_acc_m for a in accuracies if a.h_acc_m is not None), None),
        speed_mps=next((m.speed_mps for m in movers if m.speed_mps is not None), None),
        course_deg=next((m.course_deg for m in movers if m.course_deg is not None), None),
        course_acc_deg=None if pvt is None else pvt.course_acc_deg,
        quality=place.quality or FixQuality.SINGLE,
        satellites=next((b.satellites for b in (pvt, gga) if b is not None and b.satellites is not None), None),
        hdop=_hdop(said),
        v_acc_m=next((a.v_acc_m for a in accuracies if a.v_acc_m is not None), None),
        speed_acc_mps=None if pvt is None else pvt.speed_acc_mps,
        heading_deg=heading_deg,
        heading_acc_deg=heading_acc_deg,
    )


def _hdop(said: Said) -> float | None:
    sentences = (said.sentences.get(kind) for kind in ("GGA", "GSA"))
    return next((s.hdop for s in sentences if s is not None and s.hdop is not None), None)


def _heading(said: Said) -> tuple[float | None, float | None]:
    """(heading, its 1 sigma) in degrees. THS before HDT: the one says whether it is measured, the other cannot."""
    for kind in ("THS", "HDT"):
        if kind in said.sentences:
            return said.sentences[kind].heading_deg, None
    if said.att is not None and said.att.heading_acc_deg > 0.0:
        return said.att.heading_deg, said.att.heading_acc_deg
    if said.pvt is not None and said.pvt.heading_deg is not None:
        return said.pvt.heading_deg, said.pvt.course_acc_deg
    return None, None
