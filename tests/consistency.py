"""What every case must hold to, whatever was captured: tables that agree with the files and each other.

`contradictions` reads a case by its Parquet files and the documentation; it shares no code with what wrote
them. It returns sentences, none for a case in order.
"""

import itertools
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow.parquet as pq

DOCS = Path(__file__).parents[1] / "docs"

FRAMES = {
    "sessions": [("capture_id", "frame", None)],
    "events": [("capture_id", "frame", "ts")],
    "flows": [("first_capture_id", "first_frame", "first_ts"), ("last_capture_id", "last_frame", "last_ts")],
    "viewings": [("capture_id", "frame", None), ("redirector_capture_id", "redirector_frame", None)],
    "redirectors": [("capture_id", "frame", "ts")],
    "anomalies": [("capture_id", "frame", "ts")],
    "verdicts": [("capture_id", "frame", None)],
    "loss": [("capture_id", "frame", None)],
    "media_packets": [("capture_id", "frame", "ts"), ("first_capture_id", "first_frame", None)],
    "provenance": [("capture_id", "frame", None)],
    "restored": [("capture_id", "frame", None)],
    "stations": [("capture_id", "frame", None)],
    "client_log": [("capture_id", "frame", "ts")],
    "log_disagreements": [("capture_id", "frame", None)],
    "credentials": [("capture_id", "frame", "ts")],
    "script_commands": [("capture_id", "frame", None)],
    "problems": [],
}
"""Columns that name a capture and a frame in it, and the one with the frame's time."""

SESSIONS = {"session_id", "session_ids", "carried_by"}
MEDIA = {"media_id", "media_ids", "merged_from", "source_media_id"}
JSON = {("events", "details"), ("anomalies", "details"), ("viewings", "attempts"), ("redirectors", "params")}
JSON |= {("stations", "details"), ("client_log", "more"), ("credentials", "details")}


def contradictions(case, *, secrets=()):
    """Everything in a case that contradicts something else in it.

    `secrets` are passwords that the captures hold; no output may show them unless the case was told to.
    """
    tables = Tables(case)
    checks = (
        _documented,
        _identifiers,
        _frames,
        _files,
        _packets,
        _provenance,
        _sessions,
        _verdicts,
        _losses,
        _viewings,
        _flows,
        _words,
    )
    found = [said for check in checks for said in check(tables)]
    return found + list(_secrets(tables, secrets))


class Tables:
    """The rows of all tables of a case, as lists of dictionaries."""

    def __init__(self, case):
        self.root = Path(case.path)
        self.manifest = json.loads((self.root / "case.json").read_text(encoding="utf-8"))
        self.columns, self.rows = {}, {}
        for folder in sorted((self.root / "tables").iterdir()):
            parts = [pq.ParquetFile(p).read() for p in sorted(folder.glob("*.parquet"))]
            self.columns[folder.name] = parts[0].column_names
            self.rows[folder.name] = [row for part in parts for row in part.to_pylist()]

    def __getitem__(self, name):
        return self.rows[name]

    def by(self, name, column):
        """Rows of a table by the value of a column."""
        found = defaultdict(list)
        for row in self.rows[name]:
            found[row[column]].append(row)
        return found


def _documented(t):
    """The tables are those of docs/tables.md, column by column."""
    sections = re.split(r"^## ", (DOCS / "tables.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    told = {}
    for section in sections:
        name, _, body = section.partition("\n")
        told[name] = re.findall(r"^\| `(\w+)` \|", body, flags=re.MULTILINE)
    if told != t.columns:
        yield f"docs/tables.md and the case differ: {set(told) ^ set(t.columns)}"
    for name, column in JSON:
        for row in t[name]:
            if row[column] is not None:
                json.loads(row[column])


def _identifiers(t):
    """Identifiers are given once, and whoever names one names one that exists."""
    known = {}
    for table, column in (("captures", "capture_id"), ("sessions", "session_id"), ("media", "media_id")):
        counted = Counter(row[column] for row in t[table])
        yield from (f"{table}: {value} is there {n} times" for value, n in counted.items() if n > 1)
        known[column] = set(counted)
    for table, rows in t.rows.items():
        for row in rows:
            for column, value in row.items():
                kind = _kind(column)
                values = value if isinstance(value, list) else [value]
                if kind and any(v is not None and v not in known[kind] for v in values):
                    yield f"{table}.{column}: {value} does not exist"
    flows = {row["flow_id"] for row in t["flows"]}
    yield from (f"anomalies: no flow {r['flow_id']}" for r in t["anomalies"] if r["flow_id"] not in flows)
    for table in ("verdicts", "loss", "restored", "script_commands", "markers", "pictures", "protections"):
        for row in t[table]:
            medium = t.by("media", "media_id").get(row["media_id"], [row])[0]
            if medium["session_id"] != row["session_id"]:
                yield f"{table}: {row['media_id']} is not of {row['session_id']}"


def _kind(column):
    if column in SESSIONS:
        return "session_id"
    if column in MEDIA:
        return "media_id"
    return "capture_id" if column.endswith("capture_id") else None


def _frames(t):
    """Frames lie within their captures, and a frame has one time."""
    packets = {row["capture_id"]: row["packets"] or 0 for row in t["captures"]}
    span = {row["capture_id"]: (row["first_ts"], row["last_ts"]) for row in t["captures"]}
    times = {}
    for table, places in FRAMES.items():
        for row, (capture, frame, ts) in itertools.product(t[table], places):
            where = row[capture], row[frame]
            if row[frame] is None:
                continue
            if where[0] is None or not 1 <= row[frame] <= packets[where[0]]:
                yield f"{table}: no frame {where}"
            elif ts is not None and row[ts] is not None:
                if times.setdefault(where, (row[ts], table))[0] != row[ts]:
                    yield f"{table}: frame {where} at {row[ts]}, in {times[where][1]} at {times[where][0]}"
                if not span[where[0]][0] <= row[ts] <= span[where[0]][1]:
                    yield f"{table}: frame {where} is not within its capture's time"


def _files(t):
    """Media lie where the table says, and are all that lies there."""
    there = {p.relative_to(t.root).as_posix() for p in (t.root / "media").rglob("*") if p.is_file()}
    told = {row["path"]: row["size"] for row in (*t["media"], *t["pictures"])}
    if there != set(told):
        yield f"media/ and the tables differ: {there ^ set(told)}"
    for path in there & set(told):
        if (t.root / path).stat().st_size != told[path]:
            yield f"{path}: not of the size {told[path]}"
    listed = {output["path"]: output["sha256"] for output in t.manifest["outputs"]}
    for row in (*t["media"], *t["pictures"]):
        if listed.get(row["path"]) != row["sha256"]:
            yield f"{row['path']}: the manifest has another hash"


def _packets(t):
    """Packets of a medium lie in its file, one behind the other, as many as it says."""
    rows = t.by("media_packets", "media_id")
    for medium in t["media"]:
        mine = sorted(rows[medium["media_id"]], key=lambda row: row["file_offset"])
        counted = mine or not medium["kind"].endswith("playable")
        if counted and len(mine) != medium["packets"]:
            yield f"{medium['media_id']}: {medium['packets']} packets, {len(mine)} rows"
        if {row["session_id"] for row in mine} - {medium["session_id"]}:
            yield f"{medium['media_id']}: packets of another session"
        ends = [row["file_offset"] + row["size"] for row in mine]
        begins = [row["file_offset"] for row in mine[1:]] + [medium["size"]]
        if any(end > begin for end, begin in zip(ends, begins, strict=False)):
            yield f"{medium['media_id']}: packets overlap, or lie behind the file's end"
        if any(row["size"] == 0 for row in mine):
            yield f"{medium['media_id']}: packets without a byte"


def _provenance(t):
    """The rows of a medium cover it without hole and without overlap."""
    rows = t.by("provenance", "media_id")
    for medium in t["media"]:
        at = 0
        for row in sorted(rows[medium["media_id"]], key=lambda row: row["file_offset"]):
            if row["file_offset"] != at or not row["length"]:
                yield f"{medium['media_id']}: provenance at {row['file_offset']} where {at} was awaited"
                break
            if (row["frame"] is None) != (row["capture_id"] is None):
                yield f"{medium['media_id']}: a frame without capture at {at}"
            at += row["length"]
        else:
            if at != medium["size"]:
                yield f"{medium['media_id']}: provenance ends at {at} of {medium['size']}"


def _sessions(t):
    """Sums of sessions are those of what belongs to them."""
    media, events = t.by("media", "session_id"), t.by("events", "session_id")
    merged = {row["media_id"] for row in t["media"] if row["kind"].startswith("merged")}
    packets = defaultdict(list)
    for row in t["media_packets"]:
        if row["media_id"] not in merged:
            packets[row["session_id"]].append(row)
    for row in t["sessions"]:
        name = row["session_id"]
        counted = len(packets[name]), sum(p["size"] for p in packets[name])
        if counted != (row["packets_received"], row["media_bytes"]):
            yield f"{name}: {row['packets_received']}, {row['media_bytes']} bytes; its packets: {counted}"
        own = [m for m in media[name] if m["kind"] in ("faithful", "packets", "header")]
        missing = sum(m["packets_missing"] for m in own)
        headers = any(m["kind"] == "header" for m in own)  # one row for all plays of which nothing is whole
        if missing > row["packets_missing"] or (missing < row["packets_missing"] and not headers):
            yield f"{name}: {row['packets_missing']} packets missing, of its media {missing}"
        if row["start_ts"] is not None and row["start_ts"] > row["end_ts"]:
            yield f"{name}: ends before it begins"
        for event in events[name]:
            if event["ts"] is not None and not row["start_ts"] <= event["ts"] <= row["end_ts"]:
                yield f"{name}: {event['event']} at {event['ts']}, from {row['start_ts']} to {row['end_ts']}"
        if not events[name]:
            yield f"{name}: no event"


def _verdicts(t):
    """Verdict, completeness and reasons say the same."""
    reasons = t.by("verdicts", "media_id")
    for medium in t["media"]:
        name, verdict = medium["media_id"], medium["verdict"]
        if medium["complete"] and (verdict != "complete" or medium["packets_missing"]):
            yield f"{name}: complete, but {verdict}, {medium['packets_missing']} missing"
        number = re.fullmatch(r"complete but for (\d+) packets?", verdict or "")
        if number and int(number[1]) != medium["packets_missing"]:
            yield f"{name}: {verdict}, but {medium['packets_missing']} are missing"
        if medium["kind"] in ("faithful", "packets", "header") and not reasons[name]:
            yield f"{name}: no reason for {verdict!r}"
        said = [r["count"] for r in reasons[name] if r["reason"] == "packets missing"]
        if said and sum(said) != medium["packets_missing"]:
            yield f"{name}: {said} packets missing by reason, {medium['packets_missing']} by the table"


def _losses(t):
    """Runs of the loss map lie apart, and do not speak of packets that are there."""
    numbers = defaultdict(set)
    for row in t["media_packets"]:
        numbers[row["media_id"]].add(row["packet_number"])
    for row in t["loss"]:
        first, last = row["first_packet"], row["last_packet"]
        if (first is None) != (last is None) or (first is not None and first > last):
            yield f"{row['media_id']}: loss from {first} to {last}"
        elif first is not None and not row["inferred"] and row["packets"] != last - first + 1:
            yield f"{row['media_id']}: {row['packets']} packets from {first} to {last}"
        computed = row["packets_restored"] > 0
        if row["packets_hurt"] > row["packets"] or (
            row["bytes_recovered"] > row["bytes_seen"] and not computed
        ):
            yield f"{row['media_id']}: run {row['run']} recovers more than was seen"
    for (name, run), rows in itertools.groupby(t["loss"], key=lambda r: (r["media_id"], r["run"])):
        rows = list(rows)
        if len({(r["first_packet"], r["packets"], r["reason"]) for r in rows}) > 1:
            yield f"{name}: rows of run {run} differ"
        if len({r["stream_number"] for r in rows}) != len(rows):
            yield f"{name}: run {run} names a stream twice"


def _viewings(t):
    """Viewings sum up their sessions, and no session belongs to two."""
    sessions = {row["session_id"]: row for row in t["sessions"]}
    counted = Counter(name for row in t["viewings"] for name in row["session_ids"])
    yield from (f"{name} belongs to {n} viewings" for name, n in counted.items() if n > 1)
    for row in t["viewings"]:
        mine = [sessions[name] for name in row["session_ids"]]
        for column in ("media_bytes", "packets_received", "packets_missing"):
            if sum(s[column] for s in mine) != row[column]:
                yield f"{row['viewing_id']}: {column} is not the sum of its sessions"
        if {s["client_ip"] for s in mine} != {row["client_ip"]}:
            yield f"{row['viewing_id']}: sessions of other clients"
        if row["session_id"] is not None and row["transport"] != sessions[row["session_id"]]["transport"]:
            yield f"{row['viewing_id']}: won by {row['transport']}, {row['session_id']} is another"
        if row["first_ts"] > row["last_ts"]:
            yield f"{row['viewing_id']}: ends before it begins"


def _flows(t):
    """Flows carry what they say, between the ends that they say."""
    began = Counter(row["first_capture_id"] for row in t["flows"])
    for row in t["captures"]:
        if began[row["capture_id"]] > row["flows"]:
            yield f"{row['capture_id']}: {row['flows']} flows, {began[row['capture_id']]} rows"
    carried = {name for row in t["flows"] for name in row["session_ids"]}
    for row in t["sessions"]:
        if row["session_id"] not in carried:
            yield f"{row['session_id']}: no flow carried it"
    for row in t["flows"]:
        if len(set(row["session_ids"])) != len(row["session_ids"]):
            yield f"{row['flow_id']}: names a session twice"


def _words(t):
    """Words of outcomes, verdicts, reasons and events are those of docs/sessions.md."""
    text = (DOCS / "sessions.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`([^`]+)`", text))
    for row in t["sessions"]:
        if row["outcome"] not in told and not row["outcome"].startswith("failed: "):
            yield f"{row['session_id']}: outcome {row['outcome']!r} is not documented"
    for row in t["media"]:
        if re.sub(r"\d+ packets?", "N packets", row["verdict"]) not in told:
            yield f"{row['media_id']}: verdict {row['verdict']!r} is not documented"
    for table in ("verdicts", "loss"):
        words = {row["reason"] for row in t[table]} - told
        yield from (f"{table}: reason {word!r} is not documented" for word in sorted(words))
    sides = {row["direction"] for row in t["events"]} - {"client", "server"}
    yield from (f"events: direction {side!r}" for side in sides)


def _secrets(t, secrets):
    """Passwords are shown nowhere unless the case says that they are."""
    if t.manifest["parameters"]["show_secrets"]:
        return
    for table, rows in t.rows.items():
        for row, secret in itertools.product(rows, secrets):
            shown = [c for c, v in row.items() if secret in (v if isinstance(v, str) else repr(v))]
            yield from (f"{table}.{column} shows {secret!r}" for column in shown)
    for row in t["credentials"]:
        if row["secret"] not in (None, "********"):
            yield f"credentials: shows {row['secret']!r}"
