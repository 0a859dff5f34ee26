"""Tables as text. What comes from evidence is printed without control characters or markup."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from itertools import accumulate

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mmsforensics.cli.usage import printable

NARROW = 24
"""Columns of a terminal that a folded text needs at least to be readable."""

BETWEEN = 2
"""Spaces between two columns."""

INDENT = 4
"""Spaces before what stands below the row that it belongs to."""


def print_table(title: str, headers: list[str], rows: list[list[str]]) -> None:
    """Print a table: aligned columns on a terminal, elsewhere lines with tabs between the columns.

    Identifiers, times and figures are never folded, so that they can be compared and copied. On a terminal
    too narrow for all columns the widest one is folded; where that is not enough, the first columns stand in
    a line, and the others, each with its name, below it. An empty table is a word on a terminal, and
    elsewhere the line of its columns.
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
        _print_stacked(console, headers, rows, widths)


def _print_columns(console: Console, headers: list[str], rows: list[list[str]], folded: int) -> None:
    table = Table(box=None, padding=(0, BETWEEN, 0, 0), pad_edge=False)
    for number, header in enumerate(headers):
        table.add_column(header, overflow="fold", no_wrap=number != folded)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _print_stacked(console: Console, headers: list[str], rows: list[list[str]], widths: list[int]) -> None:
    """Print the first columns as a line for each row, and below it the others with their names."""
    ends = accumulate(width + BETWEEN for width in widths)
    first = max(1, sum(end - BETWEEN <= console.width for end in ends))
    console.print(_line(headers[:first], widths), style="bold")
    for row in rows:
        console.print(_line(row[:first], widths))
        named = [f"{name}: {cell}" for name, cell in zip(headers[first:], row[first:], strict=True)]
        for line in _filled(named, console.width - INDENT):
            console.print(Padding(Text(line, overflow="fold"), (0, 0, 0, INDENT), expand=False))


def _line(cells: list[str], widths: list[int]) -> Text:
    padded = [cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=False)]
    return Text((" " * BETWEEN).join(padded).rstrip(), overflow="fold")


def _filled(parts: list[str], width: int) -> Iterator[str]:
    """Lines of as many parts as fit; one that is wider than a line has it for itself."""
    line = ""
    for part in parts:
        longer = f"{line}{' ' * BETWEEN}{part}" if line else part
        if line and cell_len(longer) > width:
            yield line
            longer = part
        line = longer
    if line:
        yield line
