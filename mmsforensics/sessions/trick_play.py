"""What an MMS client asks for, in words: where a play begins, which streams it has, what the content allows.

Sections are those of MS-MMSP.
"""

from __future__ import annotations

from collections.abc import Mapping

ALL, KEY_FRAMES, NOTHING = 0, 1, 2
"""Thinning levels [2.2.4.28.1]."""

LEVELS = {ALL: "all", KEY_FRAMES: "key frames only", NOTHING: "nothing"}

NO_STREAM = 0xFFFF
"""As the source: the destination is turned on. As the destination: the source is turned off."""

NO_POSITION = 1.7e308
"""Positions above it say that the field is not used: DBL_MAX [2.2.4.25]."""

UNUSED = (0, 0xFFFFFFFF)
"""Values of asfOffset and locationId that say so."""

ATTRIBUTES = {
    0x00800000: "can stride",
    0x01000000: "can seek",
    0x02000000: "broadcast",
    0x04000000: "live",
    0x40000000: "playlist",
}
"""Bits of fileAttributes [2.2.4.7]."""


def selection(fields: Mapping[str, object]) -> tuple[dict[int, int], str]:
    """Thinning level of each stream that a StreamSwitch names, and the same in words.

    A stream replaced by another is one turned off and one turned on [2.2.4.28.1].
    """
    entries = fields.get("aStreamEntries", ())
    chosen: dict[int, int] = {}
    assert isinstance(entries, tuple)
    for source, target, level in entries:
        if source not in (NO_STREAM, target):
            chosen[source] = NOTHING
        if target != NO_STREAM:
            chosen[target] = level
    told = (f"{stream} {LEVELS.get(level, level)}" for stream, level in sorted(chosen.items()))
    return chosen, ", ".join(told) or "none"


def start_told(fields: Mapping[str, object]) -> str:
    """Where a StartPlaying or StartStriding asks to begin."""
    location, offset, position = (fields.get(name) for name in ("locationId", "asfOffset", "position"))
    if location is not None and location not in UNUSED:
        return f"at packet {location}"
    if offset is not None and offset not in UNUSED:
        return f"at byte {offset}"
    if isinstance(position, float) and position <= NO_POSITION:
        return f"at {position:g} s"
    return "at the beginning, or where it stopped"


def attributes(fields: Mapping[str, object]) -> str:
    """The attributes of an opened content."""
    bits = fields.get("fileAttributes", 0)
    assert isinstance(bits, int)
    return ", ".join(word for bit, word in ATTRIBUTES.items() if bits & bit)
