"""What commands say to a person, and how a call that can't be carried out ends."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

USAGE = 2
"""Exit code of such a call."""

SIGPIPE = 13
"""Number of the signal of a closed output, a name that not every system knows."""

SIGNALLED = 128
"""Added to the number of a signal that ended the program, as shells tell it."""

STEERING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that change the direction of what is written."""


def printable(text: str) -> str:
    """Text with control and bidirectional characters shown as escapes: a name must not steer a terminal."""
    if text.isprintable() and not any(c in text for c in STEERING):
        return text
    return "".join(
        c if c.isprintable() and c not in STEERING else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def say(line: str, *, err: bool = False) -> None:
    """Print a line, whatever names from evidence it holds; on standard error with `err`."""
    click.echo(printable(line), err=err)


def json_text(value: object, *, indent: int | None = None) -> str:
    """JSON in which nothing steers a terminal; ASCII alone where the output can't hold all of Unicode."""
    ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    text = json.dumps(value, ensure_ascii=ascii_only, default=str, indent=indent)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def reason(error: Exception) -> str:
    """What an error says, without its number."""
    if isinstance(error, OSError) and error.strerror:
        place = error.filename2 or error.filename
        return error.strerror if place is None else f"{os.fsdecode(place)}: {error.strerror}"
    return str(error)


def counted(number: int, noun: str) -> str:
    """A number of things: ``1 session``, ``2 sessions``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def fail(message: str) -> NoReturn:
    """End the command with an error message."""
    say(f"error: {message}", err=True)
    sys.exit(USAGE)


@contextmanager
def orderly_end() -> Iterator[None]:
    """Let a command end in order, whatever ends it.

    A signal removes what is half made and gives the exit code by which shells tell signals: 1 would say that
    the work was done. So does an output that its reader closed. What else the system refuses is a message.
    """
    if sys.stdout is None:  # closed by the caller
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what the locale can't hold is told as escapes
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _terminated) if in_main else None
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        say("interrupted", err=True)
        sys.exit(SIGNALLED + signal.SIGINT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(SIGNALLED + SIGPIPE)
    except OSError as error:
        _give_up(error)
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)


def _give_up(error: OSError) -> NoReturn:
    """Tell what the system refused; what waits for an output that takes nothing is dropped."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    fail(reason(error))


def _terminated(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(SIGNALLED + number)
