"""Tables as text. What comes from evidence is printed without control characters or markup."""

from __future__ import annotations

import shutil
import sys

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmsforensics.cli.usage import printable

NARROW = 24
"""Columns of a terminal that a folded text needs at least to be readable."""

BETWEEN = 2
"""Spaces between two columns."""


def print_table(title: str, headers: list[str], rows: list[list[str]]) -> None:
    """Print a table: aligned columns on a terminal, elsewhere lines with tabs between the columns.

    Identifiers, times and figures are never folded, so that they can be compared and copied. On a terminal
    too narrow for all columns the widest one is folded; where that is not enough, each row is printed as
    lines of its own. An empty table is a word on a terminal, and elsewhere the line of its columns.
    """
    rows = [[printable(c) for c in row] for row in rows]
    if not sys.stdout.isatty():
        sys.stdout.writelines("\t".join(row) + "\n" for row in (headers, *rows))
        return
    if not rows:
        sys.stdout.write(f"{title}: none\n")
        return
    columns = shutil.get_terminal_size().columns
    widths = [max(map(cell_len, column)) for column in zip(headers, *rows, strict=True)]
    console = Console(width=columns)
    console.print(Text(title, style="italic"))
    folded = widths.index(max(widths))
    left = columns - sum(widths) + widths[folded] - BETWEEN * (len(widths) - 1)
    if left >= min(NARROW, widths[folded]):
        _print_columns(console, headers, rows, folded)
    else:
        _print_records(console, headers, rows)


def _print_columns(console: Console, headers: list[str], rows: list[list[str]], folded: int) -> None:
    table = Table(box=None, padding=(0, BETWEEN, 0, 0), pad_edge=False)
    for number, header in enumerate(headers):
        table.add_column(header, overflow="fold", no_wrap=number != folded)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _print_records(console: Console, headers: list[str], rows: list[list[str]]) -> None:
    """Print each row as a block of lines, one for each column."""
    for row in rows:
        table = Table(box=None, show_header=False, padding=(0, BETWEEN, 0, 0), pad_edge=False)
        table.add_column(no_wrap=True, style="bold", min_width=max(map(cell_len, headers)))
        table.add_column(overflow="fold")
        for header, cell in zip(headers, row, strict=True):
            table.add_row(Text(header), Text(cell))
        console.print(table)
        console.print()
