"""The tables of players' and servers' logs, and of where these and the capture disagree."""

from __future__ import annotations

from mmsforensics.analytics.columns import CAPTURE_ID, FRAME, SESSION_ID, table
from mmsforensics.evidence.log_fields import CLIENT_FIELDS, SERVER_FIELDS, LogField

_LOG_TYPES = {"text": "string", "count": "uint64", "number": "double"}


def _log_columns(fields: tuple[LogField, ...]) -> tuple[tuple[str, str, str, str], ...]:
    """Columns for the fields of a log, each of its type."""
    return tuple((f.column, _LOG_TYPES[f.type], f.unit, f"{f.name}: {f.doc}") for f in fields)


CLIENT_LOG = table(
    "client_log",
    "What players reported of their playing, beside what the capture holds; docs/logs.md.",
    ("session_id", "string", "", "session that it speaks of; null if none is known"),
    CAPTURE_ID,
    FRAME,
    ("ts", "time", "ns", "time stamp of the frame"),
    ("carrier", "string", "", "what carried it; words in docs/logs.md"),
    ("url", "string", "", "content that it speaks of: cs-uri-stem, or else cs-url"),
    ("posted_to", "string", "", "target of the request that carried it; null over MMS"),
    ("client_ip", "string", "", "address that sent it"),
    ("server_ip", "string", "", "address that it was sent to"),
    ("form", "string", "", "line, xml or binary"),
    (
        "kind",
        "string",
        "",
        "legacy, streaming, rendering or connect-time; null if that can't be told",
    ),
    ("whole", "bool", "", "whether it was captured whole"),
    ("logged_ts", "time", "ns", "date and time of the log, by the player's clock, in UTC"),
    (
        "clock_difference_s",
        "double",
        "s",
        "`logged_ts` less `ts`: player's clock, and time until it was sent",
    ),
    *_log_columns(CLIENT_FIELDS),
    ("more", "string", "JSON", "content description, a vendor's fields, what else CLIENT_LOG holds"),
    ("problems", "list<string>", "", "what is not as the specification asks for"),
    (
        "match",
        "string",
        "",
        "how its session is known: carrier, strong, fair, weak; ambiguous or null",
    ),
    ("match_reasons", "list<string>", "", "evidence for that"),
    (
        "captured_packets",
        "uint64",
        "ASF packets",
        "packets captured of the stretch that it speaks of",
    ),
    ("captured_bytes", "uint64", "bytes", "their bytes"),
    ("captured_ms", "int64", "ms", "time from the session's first media packet to the log"),
    (
        "captured_packets_missing",
        "uint64",
        "ASF packets",
        "packets of the session known to be missing",
    ),
    (
        "completeness",
        "double",
        "",
        "share of what it counts that was captured; null if that can't be said",
    ),
    ("completeness_basis", "string", "", "packets or bytes"),
    ("completeness_note", "string", "", "why there is none"),
)

SERVER_LOG = table(
    "server_log",
    "Lines of servers' logs given beside captures, and the sessions they speak of; docs/logs.md.",
    ("session_id", "string", "", "session that it is matched with; null if none"),
    ("capture_id", "string", "", "log file"),
    ("line", "uint64", "", "line in it, from 1"),
    ("ts", "time", "ns", "date and time of the line in UTC, by the server's clock"),
    ("ts_basis", "string", "", "stated UTC, stated offset or assumed UTC; docs/logs.md"),
    *_log_columns(SERVER_FIELDS),
    ("other", "string", "", "fields without a column of their own, as NAME=VALUE"),
    ("software", "string", "", "#Software above the line"),
    ("software_version", "string", "", "#Version above the line"),
    ("problems", "list<string>", "", "values that are none of their type"),
    ("match", "string", "", "how well it is matched: strong, fair, weak; ambiguous or null"),
    ("match_reasons", "list<string>", "", "evidence for that"),
    (
        "time_difference_s",
        "double",
        "s",
        "time less the session's nearest, clock and zone taken off",
    ),
)

LOG_DISAGREEMENTS = table(
    "log_disagreements",
    "Where a log and the capture cannot both be the whole truth, field by field; docs/logs.md.",
    SESSION_ID,
    ("log", "string", "", "client or server"),
    ("capture_id", "string", "", "capture that carried the log, or the log file"),
    ("frame", "uint64", "", "frame that carried a client's log"),
    ("line", "uint64", "", "line of a server's log, from 1"),
    ("field", "string", "", "field of the log"),
    ("logged", "string", "", "what the log says"),
    ("captured", "string", "", "what the capture says"),
    ("text", "string", "", "what it may mean"),
)
