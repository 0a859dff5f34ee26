"""Tables as text. What comes from evidence is printed without control characters or markup."""

from __future__ import annotations

import shutil
import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text


def printable(text: str) -> str:
    """Text with control and bidirectional characters shown as escapes: a name must not steer a terminal."""
    return "".join(
        c
        if c.isprintable()
        and c not in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
        else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def print_table(title: str, headers: list[str], rows: list[list[str]]) -> None:
    """Print a table; to a terminal with a frame, otherwise as lines with tabs between the columns."""
    if not sys.stdout.isatty():
        sys.stdout.write("\t".join(headers) + "\n")
        for row in rows:
            sys.stdout.write("\t".join(printable(c) for c in row) + "\n")
        return
    table = Table(title=Text(title), title_justify="left", show_edge=False, pad_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(c)) for c in row))
    Console(width=max(shutil.get_terminal_size().columns, 60)).print(table)
