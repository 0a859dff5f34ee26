"""What commands say to a person, and how a call that can't be carried out ends."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

USAGE = 2
"""Exit code of such a call."""

STEERING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that change the direction of what is written."""


def printable(text: str) -> str:
    """Text with control and bidirectional characters shown as escapes: a name must not steer a terminal."""
    return "".join(
        c if c.isprintable() and c not in STEERING else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def say(line: str, *, err: bool = False) -> None:
    """Print a line, whatever names from evidence it holds; on standard error with `err`."""
    click.echo(printable(line), err=err)


def counted(number: int, noun: str) -> str:
    """A number of things: ``1 session``, ``2 sessions``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def fail(message: str) -> NoReturn:
    """End the command with an error message."""
    say(f"error: {message}", err=True)
    sys.exit(USAGE)
