"""Messages of all protocols in; sessions out: one story with events and media, whichever transport."""

from mmsforensics.sessions.medium import MEDIA_PACKET, PROVENANCE, MediumBlock, Origin, pad
from mmsforensics.sessions.model import (
    Event,
    MediumKind,
    MediumSummary,
    MediumWriter,
    Recorder,
    SessionSummary,
)
from mmsforensics.sessions.room import SessionRoom
from mmsforensics.sessions.wording import summarise

__all__ = [
    "MEDIA_PACKET",
    "PROVENANCE",
    "Event",
    "MediumBlock",
    "MediumKind",
    "MediumSummary",
    "MediumWriter",
    "Origin",
    "Recorder",
    "SessionRoom",
    "SessionSummary",
    "pad",
    "summarise",
]
