"""Why bytes, a message or an epoch of a receiver gave nothing: one list for NMEA, UBX and the stream around them."""

from __future__ import annotations

import enum


class Refusal(enum.StrEnum):
    """Typed reasons; a reader counts each. The first group is about bytes, then messages, dates and epochs."""

    NOISE = "bytes outside sentences"
    OVERLONG = "sentence too long"
    CUT = "sentence cut or merged"
    NO_CHECKSUM = "checksum missing"
    BAD_CHECKSUM = "checksum wrong"
    UBX_CUT = "UBX message cut"
    UBX_BAD_LENGTH = "UBX length not believable"
    UBX_BAD_CHECKSUM = "UBX checksum wrong"
    RTCM_CUT = "RTCM message cut"
    RTCM_BAD_CRC = "RTCM CRC wrong"
    BAD_FIELD = "field cannot be read"
    OUT_OF_RANGE = "value out of range"
    IGNORED = "sentence not used"
    UBX_IGNORED = "UBX message not used"
    RTCM = "RTCM message, corrections are not used"
    GPSD = "report of gpsd, not used"
    BAD_DATE = "date not believable"
    WEEK_ROLLOVER = "date moved by 1024 weeks"
    UTC_JUMP = "UTC not believable, clock carried on"
    NO_FIX = "receiver has no fix"
    NO_POSITION = "epoch without position"
    LATE = "sentence after its epoch"


class MessageError(ValueError):
    """A message that is refused, with its typed reason."""

    def __init__(self, reason: Refusal, detail: str) -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}")
