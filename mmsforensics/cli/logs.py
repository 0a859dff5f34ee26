"""The commands for what travels beside media, or lies beside captures: logs, credentials."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click

from mmsforensics.cli.usage import fail

SHOWN = 1000
"""Lines of servers' logs printed at most, unless as JSON."""

CASE = click.argument("case", type=click.Path(path_type=Path))
JSON = click.option("--json", "as_json", is_flag=True, help="Print rows as JSON lines.")

Row = dict[str, object]
Column = tuple[str, Callable[[Row], object]]


def _of(name: str) -> Column:
    """A column of the same name."""
    return name.replace("_", " "), lambda row: row[name]


CLIENT: tuple[Column, ...] = (
    ("time", lambda r: _time(r["ts"])),
    ("frame", lambda r: f"{r['capture_id']}:{r['frame']}"),
    ("session", lambda r: r["session_id"]),
    ("match", lambda r: r["match"]),
    _of("carrier"),
    _of("kind"),
    _of("url"),
    ("played", lambda r: _with_unit(r["x_duration"], "s")),
    ("received", lambda r: r["c_pkts_received"]),
    ("captured", lambda r: r["captured_packets"]),
    ("lost", lambda r: r["c_pkts_lost_client"]),
    ("complete", lambda r: _share(r["completeness"]) or r["completeness_note"]),
)
SERVER: tuple[Column, ...] = (
    ("time", lambda r: _time(r["ts"])),
    ("line", lambda r: f"{r['capture_id']}:{r['line']}"),
    ("session", lambda r: r["session_id"]),
    ("match", lambda r: r["match"]),
    ("why", lambda r: ", ".join(r["match_reasons"]) if isinstance(r["match_reasons"], list) else ""),
    ("client", lambda r: r["c_ip"]),
    ("path", lambda r: r["cs_uri_stem"]),
    ("status", lambda r: r["c_status"]),
    ("sent", lambda r: r["s_pkts_sent"]),
    ("lost", lambda r: r["c_pkts_lost_client"]),
)
DISAGREEMENTS: tuple[Column, ...] = (
    ("session", lambda r: r["session_id"]),
    _of("log"),
    ("where", lambda r: f"{r['capture_id']}:{r['frame'] if r['frame'] is not None else r['line']}"),
    _of("field"),
    _of("logged"),
    _of("captured"),
    ("meaning", lambda r: r["text"]),
)
CREDENTIALS: tuple[Column, ...] = (
    ("time", lambda r: _time(r["ts"])),
    ("frame", lambda r: f"{r['capture_id']}:{r['frame']}"),
    ("session", lambda r: r["session_id"]),
    _of("role"),
    _of("carrier"),
    _of("scheme"),
    _of("domain"),
    _of("user"),
    _of("host"),
    _of("realm"),
    _of("secret"),
    ("times", lambda r: r["times"]),
    ("answered", lambda r: r["answered"]),
    ("problem", lambda r: "replayed" if r["replayed"] else r["problem"]),
)


@click.command()
@CASE
@click.option("--session", "-s", help="Only what speaks of this session.")
@click.option(
    "--all", "everything", is_flag=True, help="Also lines of servers' logs that no session matches."
)
@JSON
def logs(case: Path, session: str | None, everything: bool, as_json: bool) -> None:
    """List what players and servers logged, and where it disagrees with the captures."""
    from mmsforensics.cli.text import print_table

    for table, columns in (
        ("client_log", CLIENT),
        ("server_log", SERVER),
        ("log_disagreements", DISAGREEMENTS),
    ):
        rows = _rows(case, table, None if everything else "match" if table == "server_log" else None, session)
        if as_json:
            for row in rows:
                told = {"table": table, **{k: v for k, v in row.items() if v is not None}}
                click.echo(json.dumps(told, ensure_ascii=False, default=str))
            continue
        shown = [[_cell(value(r)) for _, value in columns] for r in rows[:SHOWN]]
        print_table(table, [name for name, _ in columns], shown)
        if len(rows) > SHOWN:
            click.echo(f"and {len(rows) - SHOWN:,} more (all of them with --json)")


@click.command()
@CASE
@click.option("--hashes", is_flag=True, help="Print hashcat's lines alone, each behind its mode.")
@JSON
def credentials(case: Path, hashes: bool, as_json: bool) -> None:
    """List who authenticated, and what of it travelled."""
    from mmsforensics.cli.text import print_table

    rows = _rows(case, "credentials", None, None)
    if as_json:
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False, default=str))
    elif hashes:
        lines = [f"{r['hashcat_mode']} {r['hash_line']}" for r in rows if r["hash_line"]]
        for line in dict.fromkeys(lines):
            click.echo(line)
    else:
        shown = [[_cell(value(r)) for _, value in CREDENTIALS] for r in rows]
        print_table("Credentials", [name for name, _ in CREDENTIALS], shown)


def _rows(case: Path, table: str, filled: str | None, session: str | None) -> list[Row]:
    """Rows of a table with times as text; those of a session, or with a column that is filled, alone."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from mmsforensics.case import CaseError, open_case

    try:
        data = open_case(case).table(table)
    except CaseError as error:
        fail(str(error))
    if filled is not None:
        data = data.filter(pc.is_valid(data.column(filled)))
    if session is not None:
        data = data.filter(pc.equal(data.column("session_id"), session))
    for i, field in enumerate(data.schema):
        if pa.types.is_timestamp(field.type):
            text = pc.strftime(data.column(i), format="%Y-%m-%dT%H:%M:%SZ")
            data = data.set_column(i, field.name, text)
    found: list[Row] = data.to_pylist()
    return found


def _time(value: object) -> str:
    return str(value).replace("T", " ").rstrip("Z") if value is not None else "-"


def _with_unit(value: object, unit: str) -> str:
    return f"{value:g} {unit}" if isinstance(value, float) else ""


def _share(value: object) -> str:
    return f"{value:.2%}" if isinstance(value, float) else ""


def _cell(value: object) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
