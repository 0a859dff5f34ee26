"""The commands that list what a case holds, table by table."""

from __future__ import annotations

from pathlib import Path

import click

from mmsforensics.cli.listing import (
    CASE,
    JSON,
    SESSION,
    Column,
    Row,
    both,
    endpoint,
    opened,
    place,
    print_first,
    print_json,
    print_rows,
    rows_of,
    same,
    time_at,
)

SESSIONS: tuple[Column, ...] = (
    ("session", lambda r: r["session_id"]),
    same("transport"),
    time_at("start", "start_ts"),
    endpoint("client"),
    endpoint("server"),
    same("url"),
    ("packets", lambda r: r["packets_received"]),
    ("missing", lambda r: r["packets_missing"]),
    same("outcome"),
)
VIEWINGS: tuple[Column, ...] = (
    ("viewing", lambda r: r["viewing_id"]),
    time_at("start", "first_ts"),
    ("client", lambda r: r["client_ip"]),
    ("content", lambda r: r["content"] or "unknown"),
    ("tried", lambda r: r["transports"]),
    ("played by", lambda r: r["transport"] or "nothing"),
    ("packets", lambda r: r["packets_received"]),
    ("failed", lambda r: "; ".join(r["failures"]) or None if isinstance(r["failures"], list) else None),
    ("redirector", lambda r: r["redirector_url"] or r["redirector_capture_id"]),
)
EVENTS: tuple[Column, ...] = (
    time_at("time", "ts"),
    ("session", lambda r: r["session_id"]),
    place(),
    ("from", lambda r: r["direction"]),
    same("event"),
    same("summary"),
)
FLOWS: tuple[Column, ...] = (
    ("flow", lambda r: r["flow_id"]),
    endpoint("client"),
    endpoint("server"),
    ("is", lambda r: f"{r['recognised_as']} over {r['protocol']}"),
    ("sessions", lambda r: r["session_ids"]),
    both("packets", "packets"),
    both("bytes", "bytes"),
    both("sent again", "retransmissions"),
    both("gaps", "gaps"),
    same("ended"),
)
ANOMALIES: tuple[Column, ...] = (
    time_at("time", "ts"),
    ("flow", lambda r: r["flow_id"]),
    ("from", lambda r: r["direction"]),
    place(),
    same("kind"),
    same("severity"),
    ("offset", lambda r: r["stream_offset"]),
    same("size"),
    same("details"),
)
SCRIPTS: tuple[Column, ...] = (
    ("medium", lambda r: r["media_id"]),
    ("at", lambda r: _seconds(r["play_ms"])),
    same("type"),
    same("value"),
    ("from", lambda r: "header" if r["stream_number"] is None else f"stream {r['stream_number']}"),
    place(),
)
REASONS: tuple[Column, ...] = (
    ("medium", lambda r: r["media_id"]),
    same("reason"),
    same("count"),
    place(),
    same("text"),
)


@click.command()
@CASE
@JSON
def sessions(case: Path, as_json: bool) -> None:
    """List the sessions: who watched what, when, how it came out."""
    rows = sorted(rows_of(opened(case), "sessions"), key=lambda r: (str(r["start_ts"]), r["session_id"]))
    print_rows("Sessions", SESSIONS, rows, as_json=as_json)


@click.command()
@CASE
@JSON
def viewings(case: Path, as_json: bool) -> None:
    """List the viewings: what was tried, what failed and why, what played, what led there."""
    print_rows("Viewings", VIEWINGS, rows_of(opened(case), "viewings"), as_json=as_json)


@click.command()
@CASE
@SESSION
@JSON
def timeline(case: Path, session: str | None, as_json: bool) -> None:
    """Print the events in order of time."""
    rows = rows_of(opened(case), "events", session=session)
    rows = _as_captured(rows) if session else sorted(rows, key=lambda r: (str(r["ts"]), r["frame"]))
    print_rows("Timeline", EVENTS, rows, as_json=as_json)


def _as_captured(rows: list[Row]) -> list[Row]:
    """Rows in the order that the analysis had: a capture's by frame, captures by their latest time so far.

    A time stamp that jumps back disorders nothing so, and files that were given in any order are in theirs.
    """
    latest: dict[object, str] = {}
    keyed = []
    for row in sorted(rows, key=lambda r: (r["capture_id"], r["frame"])):
        capture, frame = row["capture_id"], row["frame"]
        latest[capture] = max(latest.get(capture, ""), str(row["ts"] or ""))
        keyed.append((latest[capture], str(capture), int(str(frame)), row))
    return [row for *_, row in sorted(keyed, key=lambda k: k[:3])]


@click.command()
@CASE
@JSON
def flows(case: Path, as_json: bool) -> None:
    """List the decoded flows: what was sent each way, what was lost, how it began and ended."""
    print_rows("Flows", FLOWS, rows_of(opened(case), "flows"), as_json=as_json)


@click.command()
@CASE
@SESSION
@JSON
def anomalies(case: Path, session: str | None, as_json: bool) -> None:
    """Print what is odd about the traffic, packet by packet (docs/reassembly.md explains the kinds)."""
    rows = rows_of(opened(case), "anomalies", session=session)
    rows.sort(key=lambda r: (str(r["ts"]), r["frame"]))
    print_first("Anomalies", ANOMALIES, rows, as_json=as_json)


@click.command()
@CASE
@SESSION
@JSON
def scripts(case: Path, session: str | None, as_json: bool) -> None:
    """List what media told the player to do: links to open, captions, other files, by their times."""
    rows = rows_of(opened(case), "script_commands", session=session)
    print_rows("Script commands", SCRIPTS, rows, as_json=as_json)


@click.command()
@CASE
@JSON
def media(case: Path, as_json: bool) -> None:
    """List the recovered media files, how much of each was recovered, and why."""
    found = opened(case)
    rows = rows_of(found, "media")
    if as_json:
        print_json(rows)
        return
    streams: dict[object, list[str]] = {}
    for stream in rows_of(found, "media_streams"):
        streams.setdefault(stream["media_id"], []).append(f"{stream['type']}:{stream['codec']}")
    columns: tuple[Column, ...] = (
        ("medium", lambda r: r["media_id"]),
        same("kind"),
        same("size"),
        same("packets"),
        ("missing", lambda r: r["packets_missing"]),
        ("verdict", _verdict),
        ("duration", lambda r: "unknown" if r["duration_ms"] is None else _seconds(r["duration_ms"])),
        ("streams", lambda r: streams.get(r["media_id"])),
        ("title", lambda r: r["title"] or None),
        ("path", lambda r: found.path / str(r["path"])),
    )
    print_rows("Media", columns, sorted(rows, key=lambda r: str(r["media_id"])))
    click.echo()
    reasons = sorted(rows_of(found, "verdicts"), key=lambda r: str(r["media_id"]))
    print_rows("Why", REASONS, reasons)


def _verdict(row: Row) -> str:
    return f"{row['verdict']}, encrypted" if row["encrypted"] else str(row["verdict"])


def _seconds(ms: object) -> str:
    return f"{int(str(ms)) / 1000:.3f} s"
