"""Lines of a server's log as columns of the table `server_log`, whole windows at a time.

Rules of this file:

* times are those of the log, turned into UTC by its #TimeFormat; without one they are taken for UTC, as the
  W3C format asks for, and `ts_basis` says which it was;
* a value that is none of its field's type is null, and a problem of its row; it costs nothing else;
* fields that are not documented stay, as NAME=VALUE in one column: values have no blanks.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmsforensics.analytics.log_matching import NO_ADDRESS, Sessions, path_of
from mmsforensics.evidence.log_fields import NUMBER_PATTERNS, LogField, field_named
from mmsforensics.evidence.w3c_log import LogHeader, LogLines

STATED_UTC, STATED_OFFSET, STATED_LOCAL, ASSUMED = (
    "stated UTC",
    "stated offset",
    "local, offset unknown",
    "assumed UTC",
)

_TYPES: Final = {"text": pa.string(), "count": pa.uint64(), "number": pa.float64()}
_MOMENT: Final = r"^(19|20)[0-9]{2}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$"


def columns_of(lines: LogLines) -> dict[str, pa.Array]:
    """The lines by the columns of `server_log` that the log itself fills."""
    size = len(lines.lines)
    columns: dict[str, pa.Array] = {"line": pa.array(lines.lines, pa.uint64())}
    problems: list[pa.Array] = []
    others: list[pa.Array] = []
    for name in lines.table.column_names:
        text = _plain(lines.table.column(name))
        field = field_named(name)
        if field is None or field.column in columns:
            others.append(_pair(name, text))
            continue
        columns[field.column], bad = _typed(field, text)
        if bad is not None:
            problems.append(bad)
    columns["other"] = _joined(others, size)
    columns["problems"] = _lists(problems, size)
    columns["ts"] = _times(columns, lines.header, size)
    basis = pa.scalar(_basis(lines.header), pa.string())
    columns["ts_basis"] = pc.if_else(pc.is_valid(columns["ts"]), basis, pa.scalar(None, pa.string()))
    for column, value in (("software", lines.header.software), ("software_version", lines.header.version)):
        columns[column] = pa.array([value or None] * size, pa.string())
    return columns


def _plain(column: pa.ChunkedArray) -> pa.Array:
    """A column of text with null for ``-``."""
    text = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    text = text.chunk(0) if isinstance(text, pa.ChunkedArray) else text
    empty = pc.or_(pc.equal(text, "-"), pc.equal(text, ""))
    return pc.if_else(empty, pa.scalar(None, pa.string()), text)


def _typed(field: LogField, text: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Values of a field, and for each row what is wrong with it, null if nothing."""
    if field.type == "text":
        return text, None
    sound = pc.fill_null(pc.match_substring_regex(text, f"^{NUMBER_PATTERNS[field.type]}$"), False)
    values = pc.cast(pc.if_else(sound, text, pa.scalar(None, pa.string())), _TYPES[field.type])
    wrong = pc.and_(pc.is_valid(text), pc.invert(sound))
    if not pc.any(wrong).as_py():
        return values, None
    told = pc.binary_join_element_wise(
        pa.scalar(f"{field.name}: expected a {field.type}, found"),
        pc.fill_null(pc.utf8_slice_codeunits(text, 0, 64), ""),
        " ",
    )
    return values, pc.if_else(wrong, told, pa.scalar(None, pa.string()))


def _pair(name: str, text: pa.Array) -> pa.Array:
    """NAME=VALUE where there is a value."""
    joined = pc.binary_join_element_wise(pa.scalar(name), pc.fill_null(text, ""), "=")
    return pc.if_else(pc.is_valid(text), joined, pa.scalar(None, pa.string()))


def _joined(parts: list[pa.Array], size: int) -> pa.Array:
    """NAME=VALUE of all fields that have no column, blanks between; null where there is none."""
    joined = pa.nulls(size, pa.string())
    for part in parts:
        both = pc.binary_join_element_wise(pc.fill_null(joined, ""), pc.fill_null(part, ""), " ")
        together = pc.and_(pc.is_valid(joined), pc.is_valid(part))
        joined = pc.if_else(together, both, pc.coalesce(joined, part))
    return joined


def _lists(parts: list[pa.Array], size: int) -> pa.Array:
    """What is wrong with each row."""
    found: list[list[str]] = [[] for _ in range(size)] if parts else []
    for part in parts:
        for i in np.flatnonzero(pc.is_valid(part).to_numpy(zero_copy_only=False)).tolist():
            found[i].append(part[i].as_py())
    if not found:
        offsets = pa.array(np.zeros(size + 1, dtype=np.int32))
        return pa.ListArray.from_arrays(offsets, pa.array([], pa.string()))
    return pa.array(found, pa.list_(pa.string()))


def _times(columns: dict[str, pa.Array], header: LogHeader, size: int) -> pa.Array:
    """Times of the lines in UTC, by what the header says of them."""
    kind = pa.timestamp("ns", tz="UTC")
    if "time" not in columns or header.local:
        return pa.nulls(size, kind)
    date = columns.get("date", pa.array([header.date[:10] or None] * size, pa.string()))
    moment = pc.binary_join_element_wise(pc.fill_null(date, ""), pc.fill_null(columns["time"], ""), " ")
    sound = pc.match_substring_regex(moment, _MOMENT)
    moment = pc.if_else(sound, moment, pa.scalar(None, pa.string()))
    seconds = pc.strptime(moment, format="%Y-%m-%d %H:%M:%S", unit="s", error_is_null=True)
    # 31 February becomes a day of March in strptime
    day = pc.cast(pc.utf8_slice_codeunits(moment, 8, 10), pa.int64())
    seconds = pc.if_else(pc.equal(pc.day(seconds), day), seconds, pa.scalar(None, seconds.type))
    minutes = header.behind_utc_min or 0
    numbers = pc.add(pc.cast(seconds, pa.int64()), minutes * 60)
    return pc.cast(pc.multiply(numbers, 1_000_000_000), kind)


def _basis(header: LogHeader) -> str:
    if header.behind_utc_min is None:
        return ASSUMED
    return STATED_OFFSET if header.behind_utc_min else STATED_UTC


def candidates(columns: dict[str, pa.Array], sessions: Sessions) -> list[int]:
    """Rows that may speak of a session: the same GUID or client, or without a client the same path."""
    size = len(columns["line"])
    if not len(sessions):
        return []
    wanted = np.zeros(size, dtype=np.bool_)
    if "c_playerid" in columns:
        guids = pc.replace_substring_regex(pc.utf8_lower(columns["c_playerid"]), "[{}]", "")
        wanted |= _among(guids, sessions.guids)
    told = np.zeros(size, dtype=np.bool_)
    if "c_ip" in columns:
        told = ~_among(columns["c_ip"], sorted(NO_ADDRESS)) & _filled(columns["c_ip"])
        wanted |= _among(columns["c_ip"], sessions.clients)
    for name in ("cs_uri_stem", "cs_url"):
        if name in columns and not told.all():
            rows = np.flatnonzero(~told)
            paths = columns[name].take(pa.array(rows)).dictionary_encode()
            known = set(sessions.paths)
            hits = [path_of(p or "") in known for p in paths.dictionary.to_pylist()]
            index = pc.fill_null(paths.indices, -1).to_numpy(zero_copy_only=False)
            wanted[rows] |= np.array([*hits, False], dtype=np.bool_)[index]
    return np.flatnonzero(wanted).tolist()


def _among(values: pa.Array, known: list[str]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    found = pc.is_in(values, value_set=pa.array(known, pa.string()))
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.bool_)


def _filled(values: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray(pc.is_valid(values).to_numpy(zero_copy_only=False), dtype=np.bool_)
