"""The commands. Heavy modules are imported inside them, so that ``--help`` answers at once.

Exit codes: 0 done; 1 done, but some evidence could not be read whole, a check failed or nothing of a file was
found; 2 usage, or a place that can't be written; 128 and the number of a signal that ended it.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from mmsforensics import __version__
from mmsforensics.cli.asf_files import asf, carve
from mmsforensics.cli.extracting import extract
from mmsforensics.cli.listing import CASE, Column, Row, opened, print_rows, rows_of, same, time_at
from mmsforensics.cli.lists import anomalies, flows, media, scripts, sessions, timeline, viewings
from mmsforensics.cli.logs import credentials, logs
from mmsforensics.cli.matching import match
from mmsforensics.cli.previews import preview
from mmsforensics.cli.provenance import EVIDENCE, explain, slice_
from mmsforensics.cli.usage import counted, fail, orderly_end, reason, say

if TYPE_CHECKING:
    from mmsforensics.case import Case
    from mmsforensics.case.survey import Survey

DONE, INCOMPLETE = 0, 1

UNKNOWN_URL = "(what was asked for is not known)"

OVERLAP_POLICIES = ("first", "last", "bsd", "linux", "windows", "solaris")
"""Names of `streams.Policy`, repeated here because ``--help`` imports nothing heavy."""

EVIDENCE_FILES: tuple[Column, ...] = (
    ("capture", lambda r: r["capture_id"]),
    same("path"),
    same("format"),
    same("size"),
    ("frames", lambda r: r["packets"]),
    time_at("first", "first_ts"),
    time_at("last", "last_ts"),
    ("SHA-256", lambda r: r["sha256"]),
)
NOTED = {
    "frames_fragment": "IP fragments",
    "frames_malformed": "frames with impossible or cut headers",
    "unclaimed_datagrams": "UDP datagrams that look like MMS data, their control not captured",
}
"""Figures of captures that are told where they are not 0."""

SECTIONS = {
    "Cases": ("analyze", "info", "verify", "schema"),
    "What a case holds": (
        "sessions",
        "viewings",
        "timeline",
        "media",
        "flows",
        "anomalies",
        "scripts",
        "logs",
        "credentials",
    ),
    "From a case to frames, files and pictures": ("explain", "slice", "match", "preview"),
    "ASF files, without a case": ("asf", "extract", "carve"),
}
"""The commands in the order in which ``--help`` tells them."""


class Sections(click.Group):
    """A group whose help tells the commands by what they are for, and whose commands end in order."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        with orderly_end():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands of each section, with the whole first sentence of their help."""
        width = max(map(len, self.commands))
        for title, names in SECTIONS.items():
            with formatter.section(title):
                rows = [
                    (f"{name:{width}}", self.commands[name].get_short_help_str(limit=200)) for name in names
                ]
                formatter.write_dl(rows)


@click.group(cls=Sections, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
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
@click.argument("evidence", nargs=-1, required=True, type=click.Path())
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
    evidence: tuple[str, ...], out: Path, overlap: str, merge: bool, show_secrets: bool, quiet: bool
) -> None:
    """Hash, extract, decode and recover: make a case of captures.

    EVIDENCE are capture files (pcap, pcapng, snoop, Network Monitor), compressed or not, archives (zip, tar)
    or folders of them, or - for standard input; also servers' logs, station files and redirectors. They are
    opened read-only and read in the order of their time: rotated files and several taps are one set. An
    existing case in the output folder is replaced, and its custody log goes on.
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
        fail(reason(error))
    for problem in case.problems:
        say(f"warning: {problem}", err=True)
    if not quiet:
        _print_result(case)
    sys.exit(INCOMPLETE if case.problems else DONE)


@main.command()
@click.argument("what", nargs=-1, required=True, type=click.Path())
def info(what: tuple[str, ...]) -> None:
    """Say what a case holds and rests on, or describe captures without making a case.

    WHAT is a case folder, or capture files, archives or folders of them, or - for standard input.
    """
    from mmsforensics.case import CaseError
    from mmsforensics.case.analysis import evidence_names
    from mmsforensics.case.folder import is_case

    sound = []
    for path in what:
        if path and is_case(Path(path)):
            sound.append(_info_case(Path(path)))
            continue
        try:
            names = evidence_names([path])
        except CaseError as error:
            fail(str(error))
        sound += [_info_captures(Path(name)) for name in names]
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
    from mmsforensics.cli.text import print_table
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
        "TCP or UDP": f"{counted(scan.decoded, 'frame')} in {counted(found.flows, 'flow')}",
        "other": f"{scan.other:,} other, {scan.fragments:,} IP fragments, {scan.malformed:,} malformed",
        "Windows Media": counted(len(found.sessions), "session"),
    }
    print_table("Capture", ["what", "is"], [list(row) for row in rows.items()])
    for session in sorted(found.sessions, key=lambda s: s.number):
        say(
            f"  {session.transport}  {session.url or UNKNOWN_URL}  "
            f"{counted(session.packets_received, 'packet')}, {session.packets_missing:,} missing  "
            f"({session.outcome})"
        )
    for note in scan.notes:
        say(f"note: {note}")
    for problem in found.problems:
        say(f"warning: {problem.message}", err=True)
    return not found.problems


def _ns(ts: int | None) -> str:
    """A time stamp as text, exact to the nanosecond."""
    if ts is None:
        return "-"
    seconds, rest = divmod(ts, 1_000_000_000)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{rest:09d} UTC"


def _info_case(path: Path) -> bool:
    from mmsforensics.analytics import TABLES
    from mmsforensics.case import CaseError

    case = opened(path)
    captures = rows_of(case, "captures")
    print_rows("Evidence", EVIDENCE_FILES, captures)
    for problem in case.problems:
        say(f"warning: {problem}")
    for capture in captures:
        for column, meaning in NOTED.items():
            if capture[column]:
                say(f"note: {capture['capture_id']}: {capture[column]:,} {meaning}")
        for note in cast("list[str]", capture["notes"]):
            say(f"note: {capture['capture_id']}: {note}")
    click.echo()
    try:
        counts: list[Row] = [
            {"table": t.name, "rows": case.arrow(t.name).count_rows(), "holds": t.doc}
            for t in TABLES.values()
        ]
    except CaseError as error:
        fail(str(error))
    print_rows("Tables", [same("table"), same("rows"), same("holds")], counts)
    return True


@main.command()
@click.argument("table", required=False)
@click.option("--markdown", is_flag=True, help="Print as Markdown (docs/tables.md is made so).")
def schema(table: str | None, markdown: bool) -> None:
    """Explain the columns of the tables, or of one TABLE."""
    from mmsforensics.analytics import TABLES, markdown_of
    from mmsforensics.cli.text import print_table

    if table is not None and table not in TABLES:
        fail(f"no table {table}; there are {', '.join(TABLES)}")
    for name in [table] if table is not None else list(TABLES):
        if markdown:
            click.echo(markdown_of(TABLES[name]))
            continue
        print_table(
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

    checks = verify(opened(case), evidence_folder=evidence, deep=deep)
    for check in checks:
        word = "FAILED" if not check.ok else "ok" if check.checked else "--"
        say(f"{word:6}  {check.kind:8}  {check.path}: {check.message}")
    failed = sum(not c.ok for c in checks)
    left = sum(not c.checked for c in checks)
    say(f"{len(checks) - left} checked, {failed} failed" + (f", {left} without a record" if left else ""))
    sys.exit(INCOMPLETE if failed else DONE)


for _command in (
    sessions,
    viewings,
    timeline,
    media,
    flows,
    anomalies,
    scripts,
    logs,
    credentials,
    explain,
    slice_,
    match,
    preview,
    asf,
    extract,
    carve,
):
    main.add_command(_command)


def _print_result(case: Case) -> None:
    found = rows_of(case, "sessions")
    recovered = rows_of(case, "media")
    captures = rows_of(case, "captures")
    media_files = sum(m["kind"] != "header" for m in recovered)
    frames = sum(int(str(c["packets"])) for c in captures)
    say(
        f"{counted(len(captures), 'evidence file')}, {counted(frames, 'frame')}, "
        f"{counted(len(found), 'session')}, {counted(media_files, 'media file')}"
    )
    for session in found:
        packets = counted(int(str(session["packets_received"])), "packet")
        say(
            f"  {session['session_id']}  {session['transport']}  {session['url'] or UNKNOWN_URL}  "
            f"{packets}, {session['packets_missing']:,} missing  ({session['outcome']})"
        )
        for medium in recovered:
            if medium["session_id"] == session["session_id"]:
                say(f"      {medium['kind']:8}  {case.path / str(medium['path'])}")
    say(f"case: {case.path}  (tables: {case.path / 'tables'}, manifest: {case.path / 'case.json'})")
