"""What the commands that list a case share: its rows, and the columns made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsforensics.cli.usage import fail, json_text

if TYPE_CHECKING:
    from mmsforensics.case import Case

SHOWN = 1000
"""Rows of long tables printed at most, unless as JSON."""

CASE = click.argument("case", type=click.Path(path_type=Path))
JSON = click.option("--json", "as_json", is_flag=True, help="Print rows as JSON lines.")
SESSION = click.option("--session", "-s", help="Only this session.")

Row = dict[str, object]
Column = tuple[str, Callable[[Row], object]]
"""Name, and what of a row stands in it; None is printed as a dash, whole numbers with separators."""


def opened(path: Path) -> Case:
    """Open a case folder, or end the command."""
    from mmsforensics.case import CaseError, open_case

    try:
        return open_case(path)
    except CaseError as error:
        fail(str(error))


def rows_of(case: Case, table: str, *, session: str | None = None, filled: str | None = None) -> list[Row]:
    """Rows of a table, times as ISO text in nanoseconds, exact and sortable.

    Parameters
    ----------
    session
        Only rows of this session; a session the case does not hold ends the command.
    filled
        Only rows in which this column is not null.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from mmsforensics.case import CaseError

    try:
        data = case.table(table)
        sessions = case.table("sessions").column("session_id").to_pylist() if session is not None else []
    except CaseError as error:
        fail(str(error))
    if session is not None:
        if session not in sessions:
            fail(f"{case.path}: no session {session}; see: mmsforensics sessions {case.path}")
        data = data.filter(pc.equal(data.column("session_id"), session))
    if filled is not None:
        data = data.filter(pc.is_valid(data.column(filled)))
    for i, field in enumerate(data.schema):
        if pa.types.is_timestamp(field.type):
            text = pc.strftime(data.column(i), format="%Y-%m-%dT%H:%M:%SZ")
            data = data.set_column(i, field.name, text)
    rows: list[Row] = data.to_pylist()
    return rows


def print_json(rows: Iterable[Row]) -> None:
    """Print one JSON object a line."""
    for row in rows:
        click.echo(json_text(row))


def print_rows(title: str, columns: Iterable[Column], rows: list[Row], *, as_json: bool = False) -> None:
    """Print rows as a table of these columns, or all of them as JSON lines."""
    from mmsforensics.cli.text import print_table

    if as_json:
        print_json(rows)
        return
    columns = list(columns)
    print_table(title, [name for name, _ in columns], [[cell(of(r)) for _, of in columns] for r in rows])


def print_first(title: str, columns: Iterable[Column], rows: list[Row], *, as_json: bool) -> None:
    """Print like `print_rows`, but not more rows of a long table than a person reads."""
    print_rows(title, columns, rows if as_json else rows[:SHOWN], as_json=as_json)
    if not as_json and len(rows) > SHOWN:
        click.echo(f"and {len(rows) - SHOWN:,} more (all of them with --json)")


def cell(value: object) -> str:
    """A value as a cell of a table."""
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return " ".join(map(str, value)) or "-" if isinstance(value, list) else str(value)


def same(name: str) -> Column:
    """A column that is printed under its own name."""
    return name.replace("_", " "), lambda row: row[name]


def time_at(title: str, name: str) -> Column:
    """A column of times, to the nanosecond."""
    return f"{title} (UTC)", lambda row: time_text(row[name])


def place(name: str = "frame") -> Column:
    """A column of places in the evidence: capture and frame, or line of a log."""
    return name, lambda row: None if row[name] is None else f"{row['capture_id']}:{row[name]}"


def endpoint(side: str) -> Column:
    """A column of addresses with ports; IPv6 in brackets, as in URLs."""

    def text(row: Row) -> str:
        address = str(row[f"{side}_ip"])
        return f"{f'[{address}]' if ':' in address else address}:{row[f'{side}_port']}"

    return side, text


def both(title: str, name: str) -> Column:
    """A column of what the client sent and what the server sent."""
    return title, lambda row: f"{row[f'client_{name}']:,} + {row[f'server_{name}']:,}"


def time_text(value: object) -> str | None:
    """A time of `rows_of` for people."""
    return None if value is None else str(value).replace("T", " ").rstrip("Z")
