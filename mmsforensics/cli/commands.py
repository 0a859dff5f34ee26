"""The commands. Heavy modules are imported inside them, so that ``--help`` answers at once.

Exit codes: 0 done; 1 done, but some evidence could not be read whole, or a check failed; 2 usage.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from mmsforensics import __version__
from mmsforensics.cli.asf_files import asf, carve
from mmsforensics.cli.extracting import extract
from mmsforensics.cli.logs import credentials, logs
from mmsforensics.cli.matching import match
from mmsforensics.cli.previews import preview
from mmsforensics.cli.provenance import EVIDENCE, explain, slice_
from mmsforensics.cli.usage import fail

if TYPE_CHECKING:
    from mmsforensics.case import Case
    from mmsforensics.case.survey import Survey

DONE, INCOMPLETE = 0, 1

OVERLAP_POLICIES = ("first", "last", "bsd", "linux", "windows", "solaris")
"""Names of `streams.Policy`, repeated here because ``--help`` imports nothing heavy."""

SHOWN = 1000
"""Anomalies printed at most, unless as JSON."""

CASE = click.argument("case", type=click.Path(path_type=Path))
JSON = click.option("--json", "as_json", is_flag=True, help="Print rows as JSON lines.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mmsforensics")
def main() -> None:
    """Recover Windows Media (MMS) streams from packet captures, with evidence for every byte.

    \b
    Examples:
      mmsforensics analyze evidence.pcap --out case
      mmsforensics sessions case
      mmsforensics timeline case --session c001-s0001
      mmsforensics verify case
    """


@main.command()
@click.argument("evidence", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), help="The case folder to make.")
@click.option(
    "--overlap",
    type=click.Choice(OVERLAP_POLICIES),
    default=OVERLAP_POLICIES[0],
    show_default=True,
    help="Whose bytes are kept where TCP segments overlap: as this kind of host does.",
)
@click.option("--merge", is_flag=True, help="Join several viewers' partial copies of the same content.")
@click.option("--show-secrets", is_flag=True, help="Tell passwords sent in clear; else they are masked.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
def analyze(
    evidence: tuple[Path, ...], out: Path, overlap: str, merge: bool, show_secrets: bool, quiet: bool
) -> None:
    """Hash, extract, decode and recover: make a case of captures.

    EVIDENCE are capture files (pcap, pcapng, snoop, Network Monitor), compressed or not, archives (zip, tar)
    or folders of them, or - for standard input. They are opened read-only and read in the order of their
    time: rotated files and several taps are one set. An existing case in the output folder is replaced, and
    its custody log goes on.
    """
    from mmsforensics.case import CaseError, analyze
    from mmsforensics.cli.progress import shown_progress, tell_of_compiling

    try:
        with shown_progress(quiet=quiet) as progress:
            case = analyze(
                evidence,
                out,
                overlap=overlap,
                merge=merge,
                show_secrets=show_secrets,
                progress=progress,
                compiling=None if quiet else tell_of_compiling,
            )
    except (CaseError, OSError) as error:
        fail(str(error))
    for problem in case.problems:
        click.echo(f"warning: {problem}", err=True)
    if not quiet:
        _print_result(case)
    sys.exit(INCOMPLETE if case.problems else DONE)


@main.command()
@click.argument("what", nargs=-1, required=True, type=click.Path(path_type=Path))
def info(what: tuple[Path, ...]) -> None:
    """Say what a case holds and rests on, or describe captures without making a case.

    WHAT is a case folder, or capture files, archives of them, or - for standard input.
    """
    sound = [_info_case(path) if path.is_dir() else _info_captures(path) for path in what]
    sys.exit(DONE if all(sound) else INCOMPLETE)


def _info_captures(path: Path) -> bool:
    """Describe a capture, or those in an archive; returns whether they could be read whole."""
    from mmsforensics.case.survey import survey
    from mmsforensics.cli.progress import tell_of_compiling
    from mmsforensics.evidence.compiled import told_of_compiling

    try:
        with told_of_compiling(tell_of_compiling):
            sound = [_info_capture(found) for found in survey(path)]
    except OSError as error:
        fail(f"{path}: {error.strerror or error}")
    return all(sound)


def _info_capture(found: Survey) -> bool:
    from mmsforensics.cli.text import printable
    from mmsforensics.packets import link_type_name

    scan = found.scan
    times = [_ns(t) for t in (scan.first_ts, scan.last_ts)]
    rows = {
        "file": found.path,
        "size": f"{found.size:,} bytes",
        "format": " in ".join((found.format, *reversed(found.wrapping))),
        "links": ", ".join(link_type_name(d) for d in scan.link_types),
        "frames": f"{scan.packets:,}",
        "first": times[0],
        "last": times[1],
        "TCP or UDP": f"{scan.decoded:,} frames in {found.flows:,} flows",
        "other": f"{scan.other:,} other, {scan.fragments:,} IP fragments, {scan.malformed:,} malformed",
        "Windows Media": f"{len(found.sessions)} sessions",
    }
    _print_table("Capture", ["what", "is"], [list(row) for row in rows.items()])
    for session in sorted(found.sessions, key=lambda s: s.number):
        click.echo(
            f"  {session.transport}  {printable(session.url)}  {session.packets_received:,} packets, "
            f"{session.packets_missing:,} missing  ({printable(session.outcome)})"
        )
    for note in scan.notes:
        click.echo(f"note: {printable(note)}")
    for problem in found.problems:
        click.echo(f"warning: {printable(problem.message)}", err=True)
    return not found.problems


def _ns(ts: int | None) -> str:
    """A time stamp as text, exact to the nanosecond."""
    if ts is None:
        return "-"
    seconds, rest = divmod(ts, 1_000_000_000)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{rest:09d} UTC"


def _info_case(case: Path) -> bool:
    opened = _open(case)
    captures = _rows(opened, "captures")
    _print_table(
        "Evidence",
        ["capture", "path", "format", "size", "frames", "first", "last", "SHA-256"],
        [
            [
                c["capture_id"],
                c["path"],
                c["format"],
                f"{c['size']:,}",
                f"{c['packets']:,}",
                _time(c["first_ts"]),
                _time(c["last_ts"]),
                c["sha256"],
            ]
            for c in captures
        ],
    )
    for problem in opened.problems:
        click.echo(f"warning: {problem}")
    for capture in captures:
        for column, meaning in (
            ("frames_fragment", "IP fragments"),
            ("frames_malformed", "frames with impossible or cut headers"),
            ("unclaimed_datagrams", "UDP datagrams that look like MMS data, their control not captured"),
        ):
            if capture[column]:
                click.echo(f"note: {capture['capture_id']}: {capture[column]:,} {meaning}")
        for note in cast("list[str]", capture["notes"]):
            click.echo(f"note: {capture['capture_id']}: {note}")
    click.echo()
    from mmsforensics.analytics import TABLES

    _print_table(
        "Tables",
        ["table", "rows", "holds"],
        [[t.name, f"{opened.arrow(t.name).count_rows():,}", t.doc] for t in TABLES.values()],
    )
    return True


@main.command()
@CASE
@JSON
def sessions(case: Path, as_json: bool) -> None:
    """List the sessions: who watched what, when, how it came out."""
    rows = sorted(_rows(_open(case), "sessions"), key=lambda r: (str(r["start_ts"]), r["session_id"]))
    if as_json:
        _print_json(rows)
        return
    _print_table(
        "Sessions",
        ["session", "transport", "start", "client", "server", "url", "packets", "missing", "outcome"],
        [
            [
                r["session_id"],
                r["transport"],
                _time(r["start_ts"]),
                f"{r['client_ip']}:{r['client_port']}",
                f"{r['server_ip']}:{r['server_port']}",
                r["url"],
                f"{r['packets_received']:,}",
                f"{r['packets_missing']:,}",
                r["outcome"],
            ]
            for r in rows
        ],
    )


@main.command()
@CASE
@JSON
def viewings(case: Path, as_json: bool) -> None:
    """List the viewings: what was tried, what failed and why, what played, what led there."""
    rows = _rows(_open(case), "viewings")
    if as_json:
        _print_json(rows)
        return
    _print_table(
        "Viewings",
        ["viewing", "start", "client", "content", "tried", "played by", "packets", "failed", "redirector"],
        [
            [
                r["viewing_id"],
                _time(r["first_ts"]),
                r["client_ip"],
                r["content"] or "unknown",
                " ".join(cast("list[str]", r["transports"])),
                r["transport"] or "nothing",
                f"{r['packets_received']:,}",
                "; ".join(cast("list[str]", r["failures"])) or "-",
                r["redirector_url"] or r["redirector_capture_id"] or "-",
            ]
            for r in rows
        ],
    )


@main.command()
@CASE
@click.option("--session", "-s", help="Only this session.")
@JSON
def timeline(case: Path, session: str | None, as_json: bool) -> None:
    """Print the events in order of time."""
    opened = _open(case)
    if session is not None and session not in {r["session_id"] for r in _rows(opened, "sessions")}:
        fail(f"{case}: no session {session}; see: mmsforensics sessions {case}")
    rows = [r for r in _rows(opened, "events") if session in (None, r["session_id"])]
    rows.sort(key=lambda r: (r["capture_id"], r["frame"]) if session else (str(r["ts"]), r["frame"]))
    if as_json:
        _print_json(rows)
        return
    _print_table(
        "Timeline",
        ["time", "session", "frame", "from", "event", "summary"],
        [
            [
                _time(r["ts"]),
                r["session_id"],
                str(r["frame"]),
                r["direction"],
                r["event"],
                r["summary"],
            ]
            for r in rows
        ],
    )


@main.command()
@CASE
@JSON
def flows(case: Path, as_json: bool) -> None:
    """List the decoded flows: what was sent each way, what was lost, how it began and ended."""
    rows = _rows(_open(case), "flows")
    if as_json:
        _print_json(rows)
        return
    _print_table(
        "Flows",
        ["flow", "client", "server", "is", "sessions", "packets", "bytes", "sent again", "gaps", "ended"],
        [
            [
                r["flow_id"],
                f"{r['client_ip']}:{r['client_port']}",
                f"{r['server_ip']}:{r['server_port']}",
                f"{r['recognised_as']} over {r['protocol']}",
                " ".join(cast("list[str]", r["session_ids"])) or "-",
                f"{r['client_packets']:,} + {r['server_packets']:,}",
                f"{r['client_bytes']:,} + {r['server_bytes']:,}",
                f"{r['client_retransmissions']:,} + {r['server_retransmissions']:,}",
                f"{r['client_gaps']:,} + {r['server_gaps']:,}",
                r["ended"],
            ]
            for r in rows
        ],
    )


@main.command()
@CASE
@click.option("--session", "-s", help="Only this session.")
@JSON
def scripts(case: Path, session: str | None, as_json: bool) -> None:
    """List what media told the player to do: links to open, captions, other files, by their times."""
    opened = _open(case)
    if session is not None and session not in {r["session_id"] for r in _rows(opened, "sessions")}:
        fail(f"{case}: no session {session}; see: mmsforensics sessions {case}")
    rows = [r for r in _rows(opened, "script_commands") if session in (None, r["session_id"])]
    if as_json:
        _print_json(rows)
        return
    _print_table(
        "Script commands",
        ["medium", "at", "type", "value", "from", "capture", "frame"],
        [
            [
                r["media_id"],
                f"{int(str(r['play_ms'])) / 1000:.3f} s",
                r["type"],
                r["value"],
                "header" if r["stream_number"] is None else f"stream {r['stream_number']}",
                str(r["capture_id"] or "-"),
                str(r["frame"] or "-"),
            ]
            for r in rows
        ],
    )


@main.command()
@CASE
@click.option("--session", "-s", help="Only this session.")
@JSON
def anomalies(case: Path, session: str | None, as_json: bool) -> None:
    """Print what is odd about the traffic, packet by packet (docs/reassembly.md explains the kinds)."""
    opened = _open(case)
    if session is not None and session not in {r["session_id"] for r in _rows(opened, "sessions")}:
        fail(f"{case}: no session {session}; see: mmsforensics sessions {case}")
    rows = [r for r in _rows(opened, "anomalies") if session in (None, r["session_id"])]
    rows.sort(key=lambda r: (str(r["ts"]), r["frame"]))
    if as_json:
        _print_json(rows)
        return
    _print_table(
        "Anomalies",
        ["time", "flow", "from", "frame", "kind", "severity", "offset", "size", "details"],
        [
            [
                _time(r["ts"]),
                r["flow_id"],
                r["direction"],
                f"{r['capture_id']}:{r['frame']}",
                r["kind"],
                r["severity"],
                "-" if r["stream_offset"] is None else f"{r['stream_offset']:,}",
                f"{r['size']:,}",
                r["details"],
            ]
            for r in rows[:SHOWN]
        ],
    )
    if len(rows) > SHOWN:
        click.echo(f"and {len(rows) - SHOWN:,} more (all of them with --json)")


@main.command()
@CASE
@JSON
def media(case: Path, as_json: bool) -> None:
    """List the recovered media files, how much of each was recovered, and why."""
    opened = _open(case)
    rows = _rows(opened, "media")
    if as_json:
        _print_json(rows)
        return
    streams = _rows(opened, "media_streams")
    _print_table(
        "Media",
        ["medium", "kind", "size", "packets", "missing", "verdict", "duration", "streams", "title", "path"],
        [
            [
                r["media_id"],
                r["kind"],
                f"{r['size']:,}",
                f"{r['packets']:,}",
                f"{r['packets_missing']:,}",
                f"{r['verdict']}, encrypted" if r["encrypted"] else r["verdict"],
                f"{int(str(r['duration_ms'])) / 1000:.3f} s" if r["duration_ms"] is not None else "unknown",
                " ".join(f"{s['type']}:{s['codec']}" for s in streams if s["media_id"] == r["media_id"]),
                r["title"],
                str(opened.path / str(r["path"])),
            ]
            for r in rows
        ],
    )
    reasons = _rows(opened, "verdicts")
    _print_table(
        "Why",
        ["medium", "reason", "count", "frame", "text"],
        [
            [
                r["media_id"],
                r["reason"],
                f"{r['count']:,}" if r["count"] is not None else "",
                f"{r['capture_id']}:{r['frame']}" if r["frame"] is not None else "",
                r["text"],
            ]
            for r in reasons
        ],
    )


@main.command()
@click.argument("table", required=False)
@click.option("--markdown", is_flag=True, help="Print as Markdown (docs/tables.md is made so).")
def schema(table: str | None, markdown: bool) -> None:
    """Explain the columns of the tables, or of one TABLE."""
    from mmsforensics.analytics import TABLES, markdown_of

    if table is not None and table not in TABLES:
        fail(f"no table {table}; there are {', '.join(TABLES)}")
    for name in [table] if table is not None else list(TABLES):
        if markdown:
            click.echo(markdown_of(TABLES[name]))
            continue
        _print_table(
            f"{name}: {TABLES[name].doc}",
            ["column", "type", "unit", "meaning"],
            [[c.name, c.type, c.unit, c.doc] for c in TABLES[name].columns],
        )


@main.command()
@CASE
@EVIDENCE
@click.option("--deep", is_flag=True, help="Also make every recovered file again from the evidence.")
def verify(case: Path, evidence: Path | None, deep: bool) -> None:
    """Hash evidence and outputs again and hold them against the manifest.

    With --deep every recovered file is made a second time from the captures and the table `provenance`
    alone, without decoding anything, and compared.
    """
    from mmsforensics.case import verify

    checks = verify(_open(case), evidence_folder=evidence, deep=deep)
    for check in checks:
        word = "FAILED" if not check.ok else "ok" if check.checked else "--"
        click.echo(f"{word:6}  {check.kind:8}  {check.path}: {check.message}")
    failed = sum(not c.ok for c in checks)
    left = sum(not c.checked for c in checks)
    click.echo(
        f"{len(checks) - left} checked, {failed} failed" + (f", {left} without a record" if left else "")
    )
    sys.exit(INCOMPLETE if failed else DONE)


main.add_command(credentials)
main.add_command(asf)
main.add_command(carve)
main.add_command(explain)
main.add_command(logs)
main.add_command(slice_)
main.add_command(extract)
main.add_command(match)
main.add_command(preview)


def _open(path: Path) -> Case:
    from mmsforensics.case import CaseError, open_case

    try:
        return open_case(path)
    except CaseError as error:
        fail(str(error))


def _rows(case: Case, table: str) -> list[dict[str, object]]:
    """Rows with times as ISO text in nanoseconds, exact and sortable."""
    import pyarrow as pa
    import pyarrow.compute as pc

    data = case.table(table)
    for i, field in enumerate(data.schema):
        if pa.types.is_timestamp(field.type):
            text = pc.strftime(data.column(i), format="%Y-%m-%dT%H:%M:%SZ")
            data = data.set_column(i, field.name, text)
    rows: list[dict[str, object]] = data.to_pylist()
    return rows


def _time(value: object) -> str:
    return str(value).replace("T", " ").rstrip("Z") if value is not None else "-"


def _print_json(rows: list[dict[str, object]]) -> None:
    for row in rows:
        click.echo(json.dumps(row, ensure_ascii=False, default=str))


def _print_table(title: str, headers: list[str], rows: list[list[object]]) -> None:
    from mmsforensics.cli.text import print_table

    print_table(title, headers, [[str(c) for c in row] for row in rows])


def _print_result(case: Case) -> None:
    found = _rows(case, "sessions")
    recovered = _rows(case, "media")
    captures = _rows(case, "captures")
    media_files = sum(m["kind"] != "header" for m in recovered)
    click.echo(
        f"{len(captures)} captures, {sum(int(str(c['packets'])) for c in captures):,} frames, "
        f"{len(found)} sessions, {media_files} media files"
    )
    for session in found:
        click.echo(
            f"  {session['session_id']}  {session['transport']}  {session['url']}  "
            f"{session['packets_received']} packets, {session['packets_missing']} missing  "
            f"({session['outcome']})"
        )
        for medium in recovered:
            if medium["session_id"] == session["session_id"]:
                click.echo(f"      {medium['kind']:8}  {case.path / str(medium['path'])}")
    click.echo(f"case: {case.path}  (tables: {case.path / 'tables'}, manifest: {case.path / 'case.json'})")
