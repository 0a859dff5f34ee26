"""What tables are declared with, and the columns that many of them share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    name: str
    type: str
    """Arrow type by its pyarrow alias; ``time`` is timestamp[ns, tz=UTC]."""
    unit: str
    doc: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a case: one kind of row."""

    name: str
    doc: str
    columns: tuple[Column, ...]


def table(name: str, doc: str, *columns: tuple[str, str, str, str]) -> Table:
    """Declare a table; each column as its name, type, unit and meaning."""
    return Table(name, doc, tuple(Column(*c) for c in columns))


SESSION_ID = ("session_id", "string", "", "session it belongs to")
CAPTURE_ID = ("capture_id", "string", "", "capture it was seen in")
FRAME = ("frame", "uint64", "", "frame number in the capture, 1-based as Wireshark counts")
MEDIA_ID = ("media_id", "string", "", "medium it belongs to")
