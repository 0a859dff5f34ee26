"""The rules of the ASF specification for fields of objects, as a table in the order of its chapters.

A rule says of one field, or of a field of each record of a list, what it must be. Rules that a writer shall
follow are `SHALL`; those it should follow are `SHOULD`. Rules about more than fields are in `validation`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mmsforensics.asf.layout import number

SHALL, SHOULD = "shall", "should"

Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Facts:
    """What rules need to know of the rest of the header."""

    streams: frozenset[int]
    """Numbers of all declared streams."""
    languages: int
    """Entries of the Language List."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a field must be."""

    section: str
    level: str
    object: str
    field: str
    """Its name; behind a slash when it stands in each record of a list."""
    expected: str
    holds: Callable[[Fields, Facts], bool]
    """Takes the fields that the field stands among."""


def _is(name: str, *values: object) -> Callable[[Fields, Facts], bool]:
    return lambda fields, _: fields[name] in values


def _within(name: str, low: int, high: int) -> Callable[[Fields, Facts], bool]:
    return lambda fields, _: low <= number(fields, name) <= high


def _unset(name: str, mask: int) -> Callable[[Fields, Facts], bool]:
    return lambda fields, _: not number(fields, name) & mask


def _declared(name: str, mask: int = 0xFFFF, *, none: bool = False) -> Callable[[Fields, Facts], bool]:
    """Whether a stream is declared; 0 stands for all streams where `none`."""
    return lambda fields, facts: (
        number(fields, name) & mask in facts.streams or (none and number(fields, name) & mask == 0)
    )


def _language(name: str) -> Callable[[Fields, Facts], bool]:
    """Whether a language is in the list; 0 needs none [ASF 4.6]."""
    return lambda fields, facts: number(fields, name) < max(facts.languages, 1)


def _length(widths: Mapping[int, int]) -> Callable[[Fields, Facts], bool]:
    """Whether a value has the length of its type."""

    def holds(fields: Fields, _: Facts) -> bool:
        width = widths.get(number(fields, "Value Data Type"))
        return width is None or number(fields, "Value Length") == width

    return holds


def _extension_size(fields: Fields, _: Facts) -> bool:
    size = EXTENSION_SIZES.get(str(fields["Extension System ID"]))
    return size is None or fields["Extension Data Size"] == size


EXTENSION_SIZES = {
    "Timecode": 14,
    "File Name": 0xFFFF,
    "Content Type": 1,
    "Pixel Aspect Ratio": 2,
    "Sample Duration": 2,
    "Encryption Sample ID": 0xFFFF,
    "Degradable JPEG": 0xFFFF,
}
"""Data sizes of standard payload extension systems [ASF 10.13]; 0xFFFF when they vary."""

_EXCLUSIONS = ("Language", "Bitrate", "Unknown")
_ONE_TO_127 = "1 to 127"
_STREAM = "a declared stream"
_SPECIFIER = "1, 2 or 3"

RULES: tuple[Rule, ...] = (
    Rule("3.1", SHALL, "Header Object", "Reserved 1", "1", _is("Reserved 1", 1)),
    Rule("3.1", SHALL, "Header Object", "Reserved 2", "2", _is("Reserved 2", 2)),
    Rule("3.2", SHALL, "File Properties", "Flags", "reserved bits 0", _unset("Flags", ~3)),
    Rule(
        "3.2",
        SHALL,
        "File Properties",
        "Minimum Data Packet Size",
        "the Maximum Data Packet Size",
        lambda f, _: f["Minimum Data Packet Size"] == f.get("Maximum Data Packet Size"),
    ),
    Rule(
        "3.2",
        SHALL,
        "File Properties",
        "Maximum Data Packet Size",
        "more than 0",
        lambda f, _: f["Maximum Data Packet Size"] != 0,
    ),
    Rule(
        "3.2",
        SHOULD,
        "File Properties",
        "Play Duration",
        "at least the preroll",
        lambda f, _: bool(number(f, "Flags") & 1)
        or number(f, "Play Duration") >= number(f, "Preroll") * 10_000
        or not number(f, "Data Packets Count"),
    ),
    Rule(
        "3.3",
        SHALL,
        "Stream Properties",
        "Flags",
        "a stream number of 1 to 127",
        lambda f, _: number(f, "Flags") & 0x7F != 0,
    ),
    Rule("3.3", SHALL, "Stream Properties", "Flags", "reserved bits 0", _unset("Flags", 0x7F80)),
    Rule(
        "3.3",
        SHOULD,
        "Stream Properties",
        "Stream Type",
        "a known media type",
        lambda f, _: not str(f["Stream Type"]).startswith("{"),
    ),
    Rule("3.4", SHALL, "Header Extension", "Reserved Field 1", "Reserved 1",
         _is("Reserved Field 1", "Reserved 1 (Header Extension)")),
    Rule("3.4", SHOULD, "Header Extension", "Reserved Field 2", "6", _is("Reserved Field 2", 6)),
    Rule("3.5", SHALL, "Codec List", "Reserved", "Reserved 2", _is("Reserved", "Reserved 2 (Codec List)")),
    Rule("3.5", SHALL, "Codec List", "Codec Entries/Type", "1, 2 or 65535", _is("Type", 1, 2, 0xFFFF)),
    Rule("3.6", SHALL, "Script Command", "Reserved", "Reserved 3",
         _is("Reserved", "Reserved 3 (Script Command)")),
    Rule("3.7", SHALL, "Marker", "Reserved", "Reserved 4", _is("Reserved", "Reserved 4 (Marker)")),
    Rule("3.7", SHOULD, "Marker", "Reserved 2", "0", _is("Reserved 2", 0)),
    Rule("3.8", SHALL, "Bitrate Mutual Exclusion", "Exclusion Type", "a mutual exclusion type",
         _is("Exclusion Type", *_EXCLUSIONS)),
    Rule("3.8", SHALL, "Bitrate Mutual Exclusion", "Stream Numbers/Stream Number", _ONE_TO_127,
         _within("Stream Number", 1, 127)),
    Rule("3.8", SHOULD, "Bitrate Mutual Exclusion", "Stream Numbers/Stream Number", _STREAM,
         _declared("Stream Number")),
    Rule("3.11", SHALL, "Extended Content Description", "Content Descriptors/Value Data Type", "0 to 5",
         _within("Value Data Type", 0, 5)),
    Rule("3.11", SHALL, "Extended Content Description", "Content Descriptors/Value Length",
         "the length of its type", _length({2: 4, 3: 4, 4: 8, 5: 2})),
    Rule("3.12", SHALL, "Stream Bitrate Properties", "Bitrate Records/Flags", "reserved bits 0",
         _unset("Flags", 0xFF80)),
    Rule("3.12", SHALL, "Stream Bitrate Properties", "Bitrate Records/Flags", "a stream number of 1 to 127",
         lambda f, _: number(f, "Flags") & 0x7F != 0),
    Rule("3.12", SHOULD, "Stream Bitrate Properties", "Bitrate Records/Flags", _STREAM,
         _declared("Flags", 0x7F)),
    Rule("3.13", SHALL, "Content Branding", "Banner Image Type", "0 to 3",
         _within("Banner Image Type", 0, 3)),
    Rule("3.14", SHALL, "Content Encryption", "Protection Type", "DRM", _is("Protection Type", "DRM")),
    Rule("3.16", SHALL, "Digital Signature", "Signature Type", "2", _is("Signature Type", 2)),
    Rule("4.1", SHALL, "Extended Stream Properties", "Stream Number", _ONE_TO_127,
         _within("Stream Number", 1, 127)),
    Rule("4.1", SHALL, "Extended Stream Properties", "Stream Number", _STREAM, _declared("Stream Number")),
    Rule("4.1", SHALL, "Extended Stream Properties", "Flags", "reserved bits 0", _unset("Flags", ~15)),
    Rule("4.1", SHALL, "Extended Stream Properties", "Stream Language ID Index",
         "an entry of the Language List", _language("Stream Language ID Index")),
    Rule("4.1", SHALL, "Extended Stream Properties", "Stream Names/Language ID Index",
         "an entry of the Language List", _language("Language ID Index")),
    Rule("4.1", SHALL, "Extended Stream Properties", "Payload Extension Systems/Extension Data Size",
         "the size of the system", _extension_size),
    Rule("4.2", SHALL, "Advanced Mutual Exclusion", "Stream Numbers/Stream Number", _ONE_TO_127,
         _within("Stream Number", 1, 127)),
    Rule("4.2", SHOULD, "Advanced Mutual Exclusion", "Exclusion Type", "a mutual exclusion type",
         _is("Exclusion Type", *_EXCLUSIONS)),
    Rule("4.3", SHOULD, "Group Mutual Exclusion", "Exclusion Type", "a mutual exclusion type",
         _is("Exclusion Type", *_EXCLUSIONS)),
    Rule("4.4", SHALL, "Stream Prioritization", "Priority Records/Stream Number", _ONE_TO_127,
         _within("Stream Number", 1, 127)),
    Rule("4.4", SHALL, "Stream Prioritization", "Priority Records/Priority Flags", "reserved bits 0",
         _unset("Priority Flags", ~1)),
    Rule("4.5", SHALL, "Bandwidth Sharing", "Sharing Type", "exclusive or partial",
         _is("Sharing Type", "Bandwidth sharing exclusive", "Bandwidth sharing partial")),
    Rule("4.5", SHALL, "Bandwidth Sharing", "Stream Numbers/Stream Number", _ONE_TO_127,
         _within("Stream Number", 1, 127)),
    Rule("4.7", SHALL, "Metadata", "Description Records/Reserved", "0", _is("Reserved", 0)),
    Rule("4.7", SHALL, "Metadata", "Description Records/Stream Number", "0 to 127",
         _within("Stream Number", 0, 127)),
    Rule("4.7", SHOULD, "Metadata", "Description Records/Stream Number", "0, or a declared stream",
         _declared("Stream Number", none=True)),
    Rule("4.7", SHALL, "Metadata", "Description Records/Value Data Type", "0 to 5",
         _within("Value Data Type", 0, 5)),
    Rule("4.7", SHALL, "Metadata", "Description Records/Value Length", "the length of its type",
         _length({2: 2, 3: 4, 4: 8, 5: 2})),
    Rule("4.8", SHALL, "Metadata Library", "Description Records/Language List Index",
         "an entry of the Language List", _language("Language List Index")),
    Rule("4.8", SHALL, "Metadata Library", "Description Records/Stream Number", "0 to 127",
         _within("Stream Number", 0, 127)),
    Rule("4.8", SHOULD, "Metadata Library", "Description Records/Stream Number", "0, or a declared stream",
         _declared("Stream Number", none=True)),
    Rule("4.8", SHALL, "Metadata Library", "Description Records/Value Data Type", "0 to 6",
         _within("Value Data Type", 0, 6)),
    Rule("4.8", SHALL, "Metadata Library", "Description Records/Value Length", "the length of its type",
         _length({2: 2, 3: 4, 4: 8, 5: 2, 6: 16})),
    Rule("4.9", SHALL, "Index Parameters", "Index Entry Time Interval", "more than 0",
         lambda f, _: f["Index Entry Time Interval"] != 0),
    Rule("4.9", SHALL, "Index Parameters", "Index Specifiers/Index Type", _SPECIFIER,
         _is("Index Type", 1, 2, 3)),
    Rule("4.9", SHALL, "Index Parameters", "Index Specifiers/Stream Number", _ONE_TO_127,
         _within("Stream Number", 1, 127)),
    Rule("4.9", SHOULD, "Index Parameters", "Index Specifiers/Stream Number", _STREAM,
         _declared("Stream Number")),
    Rule("4.10", SHALL, "Media Object Index Parameters", "Index Specifiers/Index Type", _SPECIFIER,
         _is("Index Type", 1, 2, 3)),
    Rule("4.10", SHALL, "Media Object Index Parameters", "Index Specifiers/Stream Number", _ONE_TO_127,
         _within("Stream Number", 1, 127)),
    Rule("4.10", SHOULD, "Media Object Index Parameters", "Index Specifiers/Stream Number", _STREAM,
         _declared("Stream Number")),
    Rule("4.11", SHALL, "Timecode Index Parameters", "Index Specifiers/Index Type", _SPECIFIER,
         _is("Index Type", 1, 2, 3)),
    Rule("4.11", SHALL, "Timecode Index Parameters", "Index Specifiers/Stream Number", _ONE_TO_127,
         _within("Stream Number", 1, 127)),
    Rule("4.11", SHOULD, "Timecode Index Parameters", "Index Specifiers/Stream Number", _STREAM,
         _declared("Stream Number")),
    Rule("4.12", SHOULD, "Compatibility", "Profile", "2", _is("Profile", 2)),
    Rule("4.12", SHOULD, "Compatibility", "Mode", "1", _is("Mode", 1)),
    Rule("5.1", SHALL, "Data Object", "Reserved", "257", _is("Reserved", 0x0101)),
    Rule("6.1", SHALL, "Simple Index Object", "Index Entry Time Interval", "more than 0",
         lambda f, _: f["Index Entry Time Interval"] != 0 or not number(f, "Index Entries Count")),
    Rule("6.2", SHALL, "Index Object", "Index Specifiers/Index Type", _SPECIFIER, _is("Index Type", 1, 2, 3)),
    Rule("6.2", SHALL, "Index Object", "Index Specifiers/Stream Number", _ONE_TO_127,
         _within("Stream Number", 1, 127)),
    Rule("6.3", SHALL, "Media Object Index Object", "Index Specifiers/Index Type", _SPECIFIER,
         _is("Index Type", 1, 2, 3)),
    Rule("6.4", SHALL, "Timecode Index Object", "Index Specifiers/Index Type", _SPECIFIER,
         _is("Index Type", 1, 2, 3)),
)  # fmt: skip
"""All rules about fields."""

ONCE = (
    "File Properties",
    "Header Extension",
    "Codec List",
    "Script Command",
    "Marker",
    "Error Correction",
    "Content Description",
    "Extended Content Description",
    "Stream Bitrate Properties",
    "Content Branding",
    "Content Encryption",
    "Extended Content Encryption",
    "Digital Signature",
    "Stream Prioritization",
    "Language List",
    "Metadata",
    "Metadata Library",
    "Media Object Index Parameters",
    "Timecode Index Parameters",
    "Compatibility",
)
"""Objects of which a header has one at most [ASF 3, 4]."""

MANDATORY = ("File Properties", "Header Extension", "Stream Properties")
"""Objects that every header has [ASF 3]."""

INDEX_PARAMETERS = {
    "Index Object": "Index Parameters",
    "Media Object Index Object": "Media Object Index Parameters",
    "Timecode Index Object": "Timecode Index Parameters",
}
"""What the header must hold when there is such an index [ASF 4.9, 4.10, 4.11]."""
