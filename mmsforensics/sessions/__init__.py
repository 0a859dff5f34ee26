"""Messages of all protocols in; sessions out: one story with events and media, whichever transport."""

from mmsforensics.sessions.loss import LOSS, LOSS_WORDS, UNKNOWN, LossReason
from mmsforensics.sessions.medium import MEDIA_PACKET, PROVENANCE, MediumBlock, Origin, pad
from mmsforensics.sessions.model import (
    Event,
    MediumKind,
    MediumSummary,
    MediumWriter,
    Recorder,
    SessionSummary,
)
from mmsforensics.sessions.msb_order import RestoredPacket
from mmsforensics.sessions.room import SessionRoom
from mmsforensics.sessions.stations import Station, station_row
from mmsforensics.sessions.verdict import REASONS, VERDICTS, Reason
from mmsforensics.sessions.wording import summarise

__all__ = [
    "LOSS",
    "LOSS_WORDS",
    "MEDIA_PACKET",
    "PROVENANCE",
    "REASONS",
    "UNKNOWN",
    "VERDICTS",
    "Event",
    "LossReason",
    "MediumBlock",
    "MediumKind",
    "MediumSummary",
    "MediumWriter",
    "Origin",
    "Reason",
    "Recorder",
    "RestoredPacket",
    "SessionRoom",
    "SessionSummary",
    "Station",
    "pad",
    "station_row",
    "summarise",
]
