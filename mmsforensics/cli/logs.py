"""The commands for what travels beside media, or lies beside captures: logs, credentials."""

from __future__ import annotations

from pathlib import Path

import click

from mmsforensics.cli.listing import (
    CASE,
    JSON,
    Column,
    opened,
    place,
    print_first,
    print_json,
    print_rows,
    rows_of,
    same,
    time_at,
)
from mmsforensics.cli.usage import say

CLIENT: tuple[Column, ...] = (
    time_at("time", "ts"),
    place(),
    ("session", lambda r: r["session_id"]),
    same("match"),
    same("carrier"),
    same("kind"),
    same("url"),
    ("played", lambda r: _with_unit(r["x_duration"], "s")),
    ("received", lambda r: r["c_pkts_received"]),
    ("captured", lambda r: r["captured_packets"]),
    ("lost", lambda r: r["c_pkts_lost_client"]),
    ("complete", lambda r: _share(r["completeness"]) or r["completeness_note"]),
)
SERVER: tuple[Column, ...] = (
    time_at("time", "ts"),
    ("zone", lambda r: r["ts_basis"]),
    place("line"),
    ("session", lambda r: r["session_id"]),
    same("match"),
    ("why", lambda r: ", ".join(r["match_reasons"]) if isinstance(r["match_reasons"], list) else None),
    ("client", lambda r: r["c_ip"]),
    ("path", lambda r: r["cs_uri_stem"]),
    ("status", lambda r: r["c_status"]),
    ("sent", lambda r: r["s_pkts_sent"]),
    ("lost", lambda r: r["c_pkts_lost_client"]),
)
DISAGREEMENTS: tuple[Column, ...] = (
    ("session", lambda r: r["session_id"]),
    same("log"),
    ("where", lambda r: f"{r['capture_id']}:{r['frame'] if r['frame'] is not None else r['line']}"),
    same("field"),
    same("logged"),
    same("captured"),
    ("meaning", lambda r: r["text"]),
)
CREDENTIALS: tuple[Column, ...] = (
    time_at("time", "ts"),
    place(),
    ("session", lambda r: r["session_id"]),
    same("role"),
    same("carrier"),
    same("scheme"),
    same("domain"),
    same("user"),
    same("host"),
    same("realm"),
    same("secret"),
    same("times"),
    same("answered"),
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
    found = opened(case)
    for table, title, columns in (
        ("client_log", "What players logged", CLIENT),
        ("server_log", "What servers logged", SERVER),
        ("log_disagreements", "Where a log and the capture disagree", DISAGREEMENTS),
    ):
        filled = "match" if table == "server_log" and not everything else None
        rows = rows_of(found, table, session=session, filled=filled)
        if as_json:
            print_json({"table": table, **{k: v for k, v in r.items() if v is not None}} for r in rows)
            continue
        print_first(title, columns, rows, as_json=False)
        click.echo()


@click.command()
@CASE
@click.option("--hashes", is_flag=True, help="Print hashcat's lines alone, each behind its mode.")
@JSON
def credentials(case: Path, hashes: bool, as_json: bool) -> None:
    """List who authenticated, and what of it travelled."""
    rows = rows_of(opened(case), "credentials")
    if not hashes:
        print_rows("Credentials", CREDENTIALS, rows, as_json=as_json)
        return
    lines = [f"{r['hashcat_mode']} {r['hash_line']}" for r in rows if r["hash_line"]]
    for line in dict.fromkeys(lines):
        say(line)


def _with_unit(value: object, unit: str) -> str | None:
    return f"{value:g} {unit}" if isinstance(value, float) else None


def _share(value: object) -> str | None:
    """A share in percent; not rounded up, since 100 % is all of it."""
    return f"{int(value * 10_000) / 100:.2f}%" if isinstance(value, float) else None
