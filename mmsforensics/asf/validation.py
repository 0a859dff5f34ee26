"""An ASF file held against the rules of the specification; each violation is located.

Rules of this file:

* what a live recording need not state (sizes, counts, durations) is not asked of it;
* of one rule `SHOWN` violations are kept at most, and how many more there are is said;
* a violation of a rule that a writer should follow is told, but does not make the file invalid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate

from mmsforensics.asf.file import AsfFile
from mmsforensics.asf.layout import Layout, Records, number, write_layout
from mmsforensics.asf.objects import LAYOUTS
from mmsforensics.asf.rules import (
    INDEX_PARAMETERS,
    MANDATORY,
    ONCE,
    RULES,
    SHALL,
    SHOULD,
    Facts,
    Fields,
    Rule,
)
from mmsforensics.asf.tree import DATA_OBJECT_HEAD, FRAME, TRAILING, AsfObject
from mmsforensics.asf.validation_data import SHOWN, Located, data_violations

SHOWN_TEXT = 200
"""Characters of a text that are told of what was found."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that a file does not follow."""

    section: str
    """Of ASF 1.20.3."""
    level: str
    """``shall`` or ``should``."""
    offset: int
    object: str
    rule: str
    """What the rule is about: a field of the object, or a thing."""
    expected: str
    found: str
    count: int = 1
    """More than 1 when it stands for others of its kind, from its offset on."""


def validate(file: AsfFile) -> tuple[Violation, ...]:
    """Hold a file against the specification.

    Parameters
    ----------
    file : AsfFile

    Returns
    -------
    tuple of Violation
        In the order of the file; the file is valid when none has the level ``shall``.
    """
    told: dict[tuple[str, str, str], int] = {}
    rest: dict[tuple[str, str, str], Violation] = {}
    found: list[Violation] = []
    for one in _violations(file):
        key = (one.section, one.object, one.rule)
        told[key] = told.get(key, 0) + 1
        if told[key] <= SHOWN and one.count == 1:
            found.append(one)
        elif key in rest:
            rest[key] = replace(rest[key], count=rest[key].count + one.count)
        else:
            rest[key] = one
    return tuple(sorted((*found, *rest.values()), key=lambda v: v.offset))


def _violations(file: AsfFile) -> Iterator[Violation]:
    yield from _structure(file)
    facts = _facts(file)
    for item in file.walk():
        for rule in RULES:
            if rule.object == item.name:
                yield from _field(item, rule, facts)
    for located in _located(file):
        yield Violation(*located)
    for located in data_violations(file):
        yield Violation(*located)


def _facts(file: AsfFile) -> Facts:
    streams = frozenset(
        number(item.fields, "Flags") & 0x7F for item in file.walk() if item.name == "Stream Properties"
    )
    languages = sum(
        number(item.fields, "Language ID Records Count")
        for item in file.walk()
        if item.name == "Language List"
    )
    return Facts(streams, languages)


# --- where objects stand ------------------------------------------------------------------------------


def _structure(file: AsfFile) -> Iterator[Violation]:
    spans = [(item.offset, item.end, item.name) for item in file.walk()]
    for problem in file.problems:
        what, at = _innermost(spans, problem.offset), problem.offset
        yield Violation("2.1", SHALL, at, what, "sizes and counts", problem.expected, problem.found)
    names = [item.name for item in file.header.walk()]
    for name in MANDATORY:
        if name not in names:
            yield Violation("3.1", SHALL, 0, "Header Object", name, "one at least", "none")
    seen: set[str] = set()
    for item in file.header.walk():
        if item.name in seen and item.name in ONCE:
            yield Violation("3.1", SHALL, item.offset, item.name, "number of objects", "one", "another")
        seen.add(item.name)
        if TRAILING in item.fields and item.children == ():
            rest = item.fields[TRAILING]
            assert isinstance(rest, bytes | memoryview)
            yield Violation(
                "2.1",
                SHOULD,
                item.end - len(rest),
                item.name,
                "its end",
                "nothing",
                f"{len(rest)} bytes more",
            )
    if not file.header.data_offset:
        yield Violation("5.1", SHALL, file.header.size, "Data Object", "Data Object", "one", "none")
    for item in file.tree:
        wanted = INDEX_PARAMETERS.get(item.name)
        if wanted is not None and wanted not in names:
            yield Violation("4.9", SHALL, item.offset, item.name, wanted, "in the header", "none")


def _innermost(spans: list[tuple[int, int, str]], offset: int) -> str:
    """The innermost object at an offset; those inside stand behind those around them."""
    return next((name for begin, end, name in reversed(spans) if begin <= offset < end), "")


# --- fields -------------------------------------------------------------------------------------------


def _field(item: AsfObject, rule: Rule, facts: Facts) -> Iterator[Violation]:
    path, _, name = rule.field.rpartition("/")
    records = item.fields.get(path, ()) if path else (item.fields,)
    assert isinstance(records, tuple)
    bad = [k for k, fields in enumerate(records) if name in fields and not rule.holds(fields, facts)]
    offsets = field_offsets(item, name, path) if bad else ()
    for k in bad:
        yield Violation(
            rule.section,
            rule.level,
            offsets[k],
            item.name,
            name,
            rule.expected,
            str(records[k][name])[:SHOWN_TEXT],
        )


def field_offset(item: AsfObject, name: str) -> int:
    """Offset in the file of a field."""
    return item.offset + FRAME + _before(LAYOUTS[item.guid][1], name, item.fields)


def field_offsets(item: AsfObject, name: str, path: str) -> tuple[int, ...]:
    """Offsets in the file of a field of each record of the list `path`; without one, of the field itself."""
    if not path:
        return (field_offset(item, name),)
    inner = next(one.layout for one in LAYOUTS[item.guid][1] if isinstance(one, Records) and one.name == path)
    records = item.fields[path]
    assert isinstance(records, tuple)
    begins = accumulate((len(write_layout(inner, r)) for r in records), initial=field_offset(item, path))
    return tuple(at + _before(inner, name, r) for at, r in zip(begins, records, strict=False))


def _before(layout: Layout, name: str, fields: Fields) -> int:
    names = [one[1] if isinstance(one, tuple) else one.name for one in layout]
    return len(write_layout(layout[: names.index(name)], fields))


# --- fields that must agree with each other, or with the file ------------------------------------------


def _located(file: AsfFile) -> Iterator[Located]:
    streams: set[int] = set()
    for item in file.walk():
        if item.name == "File Properties":
            yield from _file_properties(file, item)
        elif item.name == "Stream Properties":
            stream = number(item.fields, "Flags") & 0x7F
            if stream in streams:
                yield _at(item, "3.3", "Flags", "a stream number of its own", str(stream))
            streams.add(stream)
            yield from _media_type(item)
        elif item.name == "Extended Stream Properties":
            yield from _embedded(item)
        elif item.name == "Script Command":
            yield from _script(item)
        elif item.name == "Data Object":
            yield from _data_object(file, item)


def _at(item: AsfObject, section: str, name: str, expected: str, found: str) -> Located:
    known = name in item.fields
    offset = field_offset(item, name) if known else item.offset
    return (section, SHALL, offset, item.name, name, expected, found, 1)


def _file_properties(file: AsfFile, item: AsfObject) -> Iterator[Located]:
    if file.header.broadcast:
        return
    for name, wanted in (("File Size", file.size), ("Data Packets Count", file.packet_count)):
        stated = item.fields.get(name)
        if stated is not None and stated != wanted:
            yield _at(item, "3.2", name, str(wanted), str(stated))


def _data_object(file: AsfFile, item: AsfObject) -> Iterator[Located]:
    file_id = item.fields.get("File ID")
    if isinstance(file_id, bytes) and file.header.file_id and file_id != file.header.file_id:
        yield _at(item, "5.1", "File ID", file.header.file_id.hex(), file_id.hex())
    if file.header.broadcast or not file.packet_size:
        return
    stated = item.fields.get("Total Data Packets")
    if stated is not None and stated != file.packet_count:
        yield _at(item, "5.1", "Total Data Packets", str(file.packet_count), str(stated))
    size = DATA_OBJECT_HEAD + number(item.fields, "Total Data Packets") * file.packet_size
    if item.declared_size != size:
        found = str(item.declared_size)
        yield ("5.1", SHALL, item.offset + 16, item.name, "Object Size", str(size), found, 1)


def _media_type(item: AsfObject) -> Iterator[Located]:
    values = item.fields.get("Type-Specific Fields")
    if item.fields.get("Stream Type") != "Video Media" or not isinstance(values, dict):
        return
    data = values.get("Codec Specific Data")
    if not isinstance(data, bytes):
        return
    begin = field_offset(item, "Type-Specific Data")
    checks = (
        ("Reserved Flags", 8, 2),
        ("Format Data Size", 9, 40 + len(data)),
        ("Format Data Size (BITMAPINFOHEADER)", 11, 40 + len(data)),
    )
    for name, offset, wanted in checks:
        if values[name] != wanted:
            yield ("9.2", SHALL, begin + offset, item.name, name, str(wanted), str(values[name]), 1)


def _embedded(item: AsfObject) -> Iterator[Located]:
    stream = number(item.fields, "Stream Number")
    for child in item.children:
        found = number(child.fields, "Flags") & 0x7F
        if child.name == "Stream Properties" and found != stream:
            yield _at(child, "4.1", "Flags", f"stream {stream}", f"stream {found}")


def _script(item: AsfObject) -> Iterator[Located]:
    commands = item.fields.get("Commands", ())
    types = item.fields.get("Command Types", ())
    assert isinstance(commands, tuple)
    assert isinstance(types, tuple)
    bad = [k for k, command in enumerate(commands) if number(command, "Type Index") >= len(types)]
    offsets = field_offsets(item, "Type Index", "Commands") if bad else ()
    for k in bad:
        expected, found = f"less than {len(types)}", str(commands[k]["Type Index"])
        yield ("3.6", SHALL, offsets[k], item.name, "Type Index", expected, found, 1)
