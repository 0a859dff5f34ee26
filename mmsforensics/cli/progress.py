"""Progress with rate and time left: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmsforensics.case.intake import Progress

LINE_EVERY_S = 10
"""Seconds between lines when there is no terminal."""

Report = Callable[[Progress], None]


@contextmanager
def shown_progress(*, quiet: bool) -> Iterator[Report | None]:
    """Give a function that shows how far the analysis is."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        yield from _bar()
    else:
        yield _lines()


def tell_of_compiling() -> None:
    """Say why the first run takes longer."""
    sys.stderr.write("compiling the fast passes for this machine, once: some 20 seconds\n")


def _bar() -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading evidence", total=None)

        def report(p: Progress) -> None:
            bar.update(task, completed=p.done, total=p.total, description=f"file {p.number} of {p.of}")

        yield report


def _lines() -> Report:
    began = last = time.monotonic()

    def report(p: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < LINE_EVERY_S:
            return
        last = now
        rate = p.done / (now - began)
        left = (p.total - p.done) / rate if rate else 0
        sys.stderr.write(
            f"{p.done / 1e9:.2f} of {p.total / 1e9:.2f} GB, {rate / 1e6:.0f} MB/s, {left:.0f} s left\n"
        )

    return report
