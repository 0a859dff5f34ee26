"""The table `server_log`: logs of Windows Media Services given beside captures, matched with the sessions.

Rules of this file:

* a log is read twice, a window at a time: first to see how its clock stands to the captures', then to write
  its lines; nothing of it stays in memory but the pairs of a line and a session that look for the clock;
* only lines that share something with a session are looked at one by one;
* what the lines of a file that are matched with a session say together is held against what the capture holds
  of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    disagreements_of_all,
    entry_of,
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

COMPARED = (
    "line",
    "s_pkts_sent",
    "c_pkts_received",
    "sc_bytes",
    "c_bytes",
    "c_pkts_lost_client",
    "c_quality",
    "x_duration",
    "c_rate",
    "protocol",
    "c_ip",
    "c_status",
)
"""Columns that are held against a session."""


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
        found: dict[str, _Lines] = {}
        shift = _shift(data, known)
        for lines in read_log(data, problems, label):
            columns = columns_of(lines)
            matches = _matches(columns, known, shift)
            columns = columns if show_secrets else _masked(columns)
            _write(store, capture_ids[number], columns, matches)
            _collect(found, columns, matches)
        _tell_disagreements(store, capture_ids[number], found)
        intake.found(number, problems)


def _shift(data: Bytes, known: Sessions) -> Shift | None:
    """How the log's clock stands to the captures'."""
    pairs: list[tuple[int, SessionFacts]] = []
    if len(known):
        for lines in read_log(data, Problems(""), "", _tells_session):
            columns = columns_of(lines)
            for _, entry in _entries(columns, known):
                if entry.ts is not None:
                    pairs += [(entry.ts, session) for session in known.possible(entry)]
            if len(pairs) >= MOST_PAIRS:
                break
    return shift_of(pairs)


def _tells_session(name: str) -> bool:
    """Whether a field of a log tells its session, or its time."""
    field = field_named(name)
    return field is not None and field.column in (*LOOKED_AT, "date", "time")


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
        client, server = values.get("c_ip"), values.get("s_ip")
        found.append((row, entry_of(values, client=client, server=server, ts=values.get("ts"))))
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


@dataclass(slots=True)
class _Lines:
    """Lines of a file that are matched with one session."""

    session: SessionFacts
    values: list[dict[str, object]]


def _collect(found: dict[str, _Lines], columns: Mapping[str, pa.Array], matches: Mapping[int, Match]) -> None:
    """Keep the lines that are matched, until the file is through."""
    for row, match in sorted(matches.items()):
        if match.session is not None:
            lines = found.setdefault(match.session.session_id, _Lines(match.session, []))
            lines.values.append({name: columns[name][row].as_py() for name in COMPARED if name in columns})


def _tell_disagreements(store: TableStore, capture_id: str, found: Mapping[str, _Lines]) -> None:
    for session_id, lines in sorted(found.items()):
        for i, told in disagreements_of_all(lines.values, lines.session):
            place = {"session_id": session_id, "capture_id": capture_id, "line": lines.values[i]["line"]}
            store.append_row("log_disagreements", {**place, "log": "server", **disagreement_columns(told)})
