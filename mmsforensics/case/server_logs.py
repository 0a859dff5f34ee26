"""The table `server_log`: logs of Windows Media Services given beside captures, matched with the sessions.

Rules of this file:

* a log is read twice, a window at a time: first to see how its clock stands to the captures', then to write
  its lines; nothing of it stays in memory but the pairs of a line and a session that look for the clock;
* only lines that share something with a session are looked at one by one;
* a line that is matched is held against what the capture holds of the session.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from mmsforensics.analytics.log_matching import (
    MOST_PAIRS,
    NO_MATCH,
    Entry,
    Match,
    SessionFacts,
    Sessions,
    Shift,
    disagreements,
    judge,
    shift_of,
)
from mmsforensics.analytics.server_log import candidates, columns_of
from mmsforensics.case.client_logs import columns as disagreement_columns
from mmsforensics.case.intake import Intake
from mmsforensics.case.store import TableStore
from mmsforensics.evidence.formats import Bytes
from mmsforensics.evidence.log_fields import field_named
from mmsforensics.evidence.problem import Problems
from mmsforensics.evidence.w3c_log import read_log
from mmsforensics.protocols.authentication import USER_INFO
from mmsforensics.sessions.secrets import MASK

LOOKED_AT = ("c_playerid", "c_ip", "s_ip", "cs_uri_stem", "cs_url", "ts")
"""Columns that tell a line's session."""


def write_server_logs(
    intake: Intake,
    store: TableStore,
    capture_ids: Sequence[str],
    sessions: Sequence[SessionFacts],
    *,
    show_secrets: bool,
) -> None:
    """Read the servers' logs of a case into its tables."""
    known = Sessions(sessions)
    for number, label, data in intake.logs():
        problems = Problems(label)
        shift = _shift(data, known)
        for lines in read_log(data, problems, label):
            columns = columns_of(lines)
            matches = _matches(columns, known, shift)
            columns = columns if show_secrets else _masked(columns)
            _write(store, capture_ids[number], columns, matches)
        intake.found(number, problems)


def _shift(data: Bytes, known: Sessions) -> Shift | None:
    """How the log's clock stands to the captures'."""
    pairs: list[tuple[int, SessionFacts]] = []
    if known.all:
        for lines in read_log(data, Problems(""), "", _tells_session):
            columns = columns_of(lines)
            for _, entry in _entries(columns, known):
                if entry.ts is not None:
                    pairs += [(entry.ts, s) for s in known.candidates(entry) if _same(entry, s)]
            if len(pairs) >= MOST_PAIRS:
                break
    return shift_of(pairs)


def _tells_session(name: str) -> bool:
    """Whether a field of a log tells its session, or its time."""
    field = field_named(name)
    return field is not None and field.column in (*LOOKED_AT, "date", "time")


def _same(entry: Entry, session: SessionFacts) -> bool:
    """Whether an entry may speak of a session, whatever its time."""
    return judge(entry, session).quality is not None


def _entries(columns: Mapping[str, pa.Array], known: Sessions) -> list[tuple[int, Entry]]:
    """Lines that may speak of a session, by their row."""
    rows = candidates(dict(columns), known)
    if not rows:
        return []
    taken = {c: columns[c].take(pa.array(rows)) for c in LOOKED_AT if c in columns}
    taken["ts"] = taken["ts"].cast(pa.int64())
    told = {c: values.to_pylist() for c, values in taken.items()}
    found = []
    for i, row in enumerate(rows):
        values = {c: v[i] for c, v in told.items()}
        urls = tuple(str(values[c]) for c in ("cs_uri_stem", "cs_url") if values.get(c))
        found.append(
            (
                row,
                Entry(
                    guid=values.get("c_playerid"),
                    client=values.get("c_ip"),
                    server=values.get("s_ip"),
                    urls=urls,
                    ts=values.get("ts"),
                ),
            )
        )
    return found


def _matches(columns: Mapping[str, pa.Array], known: Sessions, shift: Shift | None) -> dict[int, Match]:
    """What each line that may speak of a session is matched with."""
    found = {row: known.match(entry, shift) for row, entry in _entries(columns, known)}
    return {row: match for row, match in found.items() if match is not NO_MATCH}


def _masked(columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """The columns without passwords of URLs."""
    return {
        name: pc.replace_substring_regex(values, USER_INFO.pattern, rf"\1\2:{MASK}@")
        if pa.types.is_string(values.type) and pc.any(pc.match_substring(values, "@")).as_py()
        else values
        for name, values in columns.items()
    }


def _write(
    store: TableStore, capture_id: str, columns: dict[str, pa.Array], matches: Mapping[int, Match]
) -> None:
    size = len(columns["line"])
    session_ids: list[str | None] = [None] * size
    qualities: list[str | None] = [None] * size
    reasons: list[tuple[str, ...]] = [()] * size
    differences: list[float | None] = [None] * size
    for row, match in matches.items():
        session_ids[row] = match.session.session_id if match.session is not None else None
        qualities[row], reasons[row] = match.quality, match.reasons
        differences[row] = match.difference_ns / 1e9 if match.difference_ns is not None else None
    store.append(
        "server_log",
        {
            **columns,
            "capture_id": [capture_id] * size,
            "session_id": session_ids,
            "match": qualities,
            "match_reasons": [list(r) for r in reasons],
            "time_difference_s": differences,
        },
    )
    for row, match in sorted(matches.items()):
        if match.session is None:
            continue
        values = {name: column[row].as_py() for name, column in columns.items() if name != "ts"}
        for found in disagreements(values, match.session):
            store.append_row(
                "log_disagreements",
                {
                    "session_id": match.session.session_id,
                    "log": "server",
                    "capture_id": capture_id,
                    "line": values["line"],
                    **disagreement_columns(found),
                },
            )
