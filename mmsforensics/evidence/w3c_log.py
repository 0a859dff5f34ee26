"""Servers' logs in the W3C Extended Log File Format: columns of text, a window at a time.

Rules of this file:

* a ``#Fields`` header says what the lines below it hold, up to the next one; headers may come anywhere, as
  they do when a server starts again or logs were put together;
* a line with another number of values than its header has fields is a located problem and costs itself alone;
  so do lines with zero bytes (a server that crashed leaves them) and lines longer than `LINE_LIMIT`;
* UTF-8 and UTF-16LE are told by the bytes; a line that is no UTF-8 is ANSI, whatever the header says. Which
  code page that is nothing says: Windows-1252 is taken;
* nothing grows with the file: a window is decoded at a time, and yields at most one table for each header.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
from numpy.typing import NDArray

from mmsforensics.evidence.formats import Bytes
from mmsforensics.evidence.problem import MAX_PROBLEMS, Problem, Problems

WINDOW: Final = 8 << 20
"""Bytes decoded at once."""

LINE_LIMIT: Final = 1 << 16
"""Bytes of the longest line taken for one; 60 fields of the longest URLs in use have some 10 000."""

HEADER_LIMIT: Final = 100_000
"""Header lines of a file that are heeded: a server that starts again every minute writes as many in a week.
Behind them a file is read no further, since what its lines hold is not known any more."""

FIELDS_LIMIT: Final = 256
"""Fields of a line; Windows Media Services document some sixty."""

NEWLINE, RETURN, BLANK, HASH = 10, 13, 32, 35

_LOCAL = re.compile(r"local\s*\(\s*(-?[0-9]{1,4})\s*\)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LogHeader:
    """What the lines that begin with ``#`` say."""

    fields: tuple[str, ...] = ()
    software: str = ""
    version: str = ""
    date: str = ""
    """Of #Date or #StartDate: when writing began, by the server's clock."""
    behind_utc_min: int | None = None
    """Minutes to add for UTC; None if no #TimeFormat says so."""
    local: bool = False
    """Whether times are local and by how much is not said."""
    ansi: bool = False
    server: str = ""
    """Of #ServerName."""
    addresses: tuple[str, ...] = ()
    """Of #ServerIP."""

    def told(self, name: str, value: str) -> LogHeader:
        """The header with one more line taken in."""
        match name:
            case "fields":
                return replace(self, fields=tuple(value.split()[: FIELDS_LIMIT + 1]))
            case "software":
                return replace(self, software=value)
            case "version":
                return replace(self, version=value)
            case "date" | "startdate":
                return replace(self, date=value)
            case "timeformat":
                offset = _LOCAL.match(value)
                utc = value.upper().startswith(("UTC", "GMT"))
                minutes = int(offset[1]) if offset else 0 if utc else None
                return replace(self, behind_utc_min=minutes, local=not utc and offset is None)
            case "encodingformat":
                return replace(self, ansi=value.upper() == "ANSI")
            case "servername":
                return replace(self, server=value)
            case "serverip":
                return replace(self, addresses=tuple(a.strip() for a in value.split(",") if a.strip()))
            case _:
                return self


@dataclass(frozen=True, slots=True)
class LogLines:
    """Lines under one header."""

    header: LogHeader
    lines: NDArray[np.int64]
    """Number of each line in the file, from 1."""
    table: pa.Table
    """A column of text for each field, by its name in the header; a name that comes again is numbered."""


@dataclass(frozen=True, slots=True)
class _Window:
    """Whole lines of the file, in UTF-8 or another code that keeps ASCII."""

    data: NDArray[np.uint8]
    base: int
    """Offset in the file of its first byte."""
    width: int
    """Bytes of an ASCII character in the file."""

    def place(self, at: int) -> int:
        """Offset in the file of a byte of the window."""
        if self.width == 1:
            return self.base + at
        text = self.data[:at].tobytes().decode("utf-8", "replace")
        return self.base + len(text.encode("utf-16-le"))


def read_log(
    data: Bytes, problems: Problems, label: str, wanted: Callable[[str], bool] | None = None
) -> Iterator[LogLines]:
    """Read a log.

    Parameters
    ----------
    data : ndarray of uint8
        The file, unpacked.
    problems : Problems
        Told what is wrong with it.
    label : str
        Its name, for them.
    wanted : callable, optional
        Tells by its name whether a field is wanted; by default all are.
    """
    reader = _Reader(problems, label, wanted)
    for window in _windows(data):
        yield from reader.feed(window)
        if reader.over:
            return


def _windows(data: Bytes) -> Iterator[_Window]:
    """Windows of whole lines; the last line of the file may lack its end."""
    mark = data[:3].tobytes()
    wide = mark[:2] == b"\xff\xfe" or mark[1:2] == b"\0"
    at = 2 if mark[:2] == b"\xff\xfe" else 3 if mark == b"\xef\xbb\xbf" else 0
    end = len(data)
    while at < end:
        stop = min(at + WINDOW, end)
        part = data[at:stop]
        if stop < end:
            last = _last_newline(part, wide)
            stop = at + last if last else stop  # a line longer than a window is cut, and told as too long
            part = part[: stop - at]
        if wide:
            text = part.tobytes().decode("utf-16-le", "backslashreplace")
            narrow = np.frombuffer(text.encode("utf-8", "backslashreplace"), dtype=np.uint8)
            yield _Window(narrow, at, 2)
        else:
            yield _Window(part, at, 1)
        at = stop


def _last_newline(part: NDArray[np.uint8], wide: bool) -> int:
    """Bytes up to and with the last line end; 0 if there is none."""
    if not wide:
        found = part.tobytes().rfind(b"\n")
        return found + 1
    units = part[: len(part) & ~1].view("<u2")
    ends = np.flatnonzero(units == NEWLINE)
    return 2 * int(ends[-1]) + 2 if len(ends) else 0


@dataclass(frozen=True, slots=True)
class _Places:
    """Where bytes that matter stand in a window."""

    blanks: NDArray[np.int64]
    bad: NDArray[np.int64]
    """Returns and zero bytes."""


def _between(
    places: NDArray[np.int64], starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> NDArray[np.int64]:
    """How many of the places lie in each line."""
    return np.searchsorted(places, stops) - np.searchsorted(places, starts)


class _Reader:
    """Goes through the windows of a file."""

    def __init__(self, problems: Problems, label: str, wanted: Callable[[str], bool] | None) -> None:
        self._problems = problems
        self._wanted = wanted
        self._label = label
        self._header = LogHeader()
        self._line = 1
        self._headers = 0
        self.over = False

    def feed(self, window: _Window) -> Iterator[LogLines]:
        """Read a window."""
        data = window.data
        ends = np.flatnonzero(data == NEWLINE)
        starts = np.concatenate(([0], ends + 1)).astype(np.int64)
        if len(starts) and starts[-1] == len(data):
            starts = starts[:-1]
        stops = np.append(ends, len(data))[: len(starts)].astype(np.int64)
        places = _Places(np.flatnonzero(data == BLANK), np.flatnonzero((data == RETURN) | (data == 0)))
        heads = np.flatnonzero((starts < stops) & (data[np.minimum(starts, len(data) - 1)] == HASH))
        begin = 0
        for head in [*heads.tolist(), len(starts)]:
            if head > begin:
                lines = starts[begin:head], stops[begin:head]
                yield from self._section(window, places, *lines, self._line + begin)
            if head < len(starts):
                self._take_header(window, int(starts[head]), int(stops[head]))
            if self.over:
                return
            begin = head + 1
        self._line += len(starts)

    def _take_header(self, window: _Window, start: int, stop: int) -> None:
        self._headers += 1
        if self._headers > HEADER_LIMIT:
            found = "more, behind which nothing was read"
            self._tell(window.place(start), f"at most {HEADER_LIMIT} header lines", found, None)
            self.over = True
            return
        raw = window.data[start : min(stop, start + LINE_LIMIT)].tobytes()
        name, colon, value = raw.decode("utf-8", "backslashreplace").strip("# \t\r").partition(":")
        if not colon:
            return
        before = self._header
        self._header = before.told(name.strip().lower(), value.strip())
        if len(self._header.fields) > FIELDS_LIMIT:
            found = f"{len(self._header.fields)} or more"
            self._tell(window.place(start), f"at most {FIELDS_LIMIT} fields", found, None)
            self._header = replace(self._header, fields=())

    def _section(
        self,
        window: _Window,
        places: _Places,
        starts: NDArray[np.int64],
        stops: NDArray[np.int64],
        first: int,
    ) -> Iterator[LogLines]:
        """Read lines that stand under one header."""
        stops = _without_blanks(window.data, starts, stops)
        count = len(self._header.fields)
        values = _between(places.blanks, starts, stops) + 1
        strange = (_between(places.bad, starts, stops) > 0) | (stops - starts > LINE_LIMIT)
        filled = stops > starts
        good = filled & ~strange & (values == count) & (count > 0)
        broken = np.flatnonzero(filled & ~good)
        told = max(MAX_PROBLEMS - len(self._problems.told), 0)
        for i in broken[:told].tolist():
            found = f"line {first + i} with {values[i]}"
            expected = f"{count} values" if count else "#Fields before the first line"
            if strange[i]:
                expected = f"a line of text of at most {LINE_LIMIT} bytes"
                found = f"line {first + i} of {stops[i] - starts[i]} bytes, with zero bytes or too long"
            place = window.place(int(starts[i]))
            self._tell(place, expected, found, (place, window.place(int(stops[i]))))
        more = broken[told:]
        self._problems.add_untold(len(more), int((stops[more] - starts[more]).sum()))
        if good.any():
            rows = np.flatnonzero(good)
            kept = _kept(window.data, starts[rows], stops[rows])
            table = _table(kept, self._header, self._wanted)
            yield LogLines(self._header, rows + first, table)

    def _tell(self, offset: int, expected: str, found: str, passed: tuple[int, int] | None) -> None:
        self._problems.add(Problem(self._label, offset, None, expected, found, passed))


def _without_blanks(
    data: NDArray[np.uint8], starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Ends of lines without the blanks and returns there: version 4.1 ends each line with a blank."""
    stops = stops.copy()
    for _ in range(8):
        last = data[np.maximum(stops - 1, 0)]
        cut = (stops > starts) & ((last == BLANK) | (last == RETURN))
        if not cut.any():
            break
        stops -= cut
    return stops


def _kept(data: NDArray[np.uint8], starts: NDArray[np.int64], stops: NDArray[np.int64]) -> bytes:
    """The lines that are kept, one behind the other, each with a line end."""
    begin, end = int(starts[0]), int(stops[-1])
    lines = np.append(data[begin:end], np.uint8(NEWLINE))
    lines[stops - begin] = NEWLINE  # where a blank, a return or the line end stood
    gaps = np.diff(np.append(starts, end + 1)) - (stops - starts + 1)  # behind each line
    if not gaps.any():
        return bytes(lines.tobytes())
    runs = np.column_stack((stops - starts + 1, gaps)).ravel()
    keep = np.repeat(np.arange(len(runs)) % 2 == 0, runs)
    return bytes(lines[keep].tobytes())


def _table(lines: bytes, header: LogHeader, wanted: Callable[[str], bool] | None) -> pa.Table:
    names = _names(header.fields)
    only = [name for name in names if wanted is None or wanted(name)]
    if not only:
        return pa.table({})
    types = dict.fromkeys(names, pa.string())
    return csv.read_csv(
        pa.py_buffer(_utf8(lines)),
        csv.ReadOptions(column_names=names, use_threads=False, block_size=2 * len(lines) + 1024),
        csv.ParseOptions(delimiter=" ", quote_char=False, double_quote=False, escape_char=False),
        csv.ConvertOptions(column_types=types, strings_can_be_null=False, include_columns=only),
    )


def _names(fields: tuple[str, ...]) -> list[str]:
    names: list[str] = []
    for field in fields:
        taken = names.count(field)
        names.append(field if not taken else f"{field}#{len(names)}")
    return names


def _utf8(lines: bytes) -> bytes:
    """Lines in UTF-8; those that are none, by Windows-1252."""
    if _is_utf8(lines):
        return lines
    return b"\n".join(
        line if _is_utf8(line) else line.decode("cp1252", "backslashreplace").encode("utf-8")
        for line in lines.split(b"\n")
    )


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
