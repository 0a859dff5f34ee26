"""What a capture is and what Windows Media is in it, without making a case."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsforensics.case.frames import FrameBook
from mmsforensics.case.world import World
from mmsforensics.evidence import Problem, open_evidence
from mmsforensics.evidence.sources import Source, sources
from mmsforensics.packets import CaptureScan, ScanSummary, read_ahead
from mmsforensics.sessions import (
    Event,
    MediumBlock,
    MediumKind,
    MediumSummary,
    MediumWriter,
    RestoredPacket,
    SessionSummary,
)
from mmsforensics.sessions.redirections import Redirection
from mmsforensics.sessions.secrets import masked_text
from mmsforensics.streams import Conflict, Flow, FlowSummary
from mmsforensics.streams.flow import Endpoint


@dataclass(frozen=True, slots=True)
class Survey:
    """A capture, described."""

    path: str
    size: int
    """Bytes of the file."""
    format: str
    wrapping: tuple[str, ...]
    """How it is compressed, from the outside in."""
    scan: ScanSummary
    problems: tuple[Problem, ...]
    """What is wrong with it."""
    flows: int
    """TCP connections and UDP endpoint pairs."""
    sessions: tuple[SessionSummary, ...]
    """Of Windows Media, in order of their ends."""


def survey(path: str | os.PathLike[str]) -> Iterator[Survey]:
    """Describe a capture, or each one of an archive; nothing is kept and nothing hashed.

    Parameters
    ----------
    path : path
        A capture file or an archive, compressed or not; a pipe, or ``-`` for standard input.

    Raises
    ------
    OSError
        The file cannot be opened.
    """
    with tempfile.TemporaryDirectory() as spool:
        for source in sources(path, Path(spool)):
            yield _surveyed(source)


def _surveyed(source: Source) -> Survey:
    book, found = FrameBook(["c001"]), _Found()
    with open_evidence(source.file, name=source.name) as evidence:
        scan, world = CaptureScan(evidence, hashing=False), World(found, book.stitched, book.count)
        book.numbering.add(0, 1, 1 << 62)  # frames are numbered as they stand
        for batch in read_ahead(iter(scan)):
            world.feed(batch)
        world.finish()
        return Survey(
            path=source.name,
            size=evidence.size,
            format=evidence.format,
            wrapping=evidence.wrapping,
            scan=scan.summary,
            problems=(*source.problems, *scan.summary.problems),
            flows=book.counted("flows", 0),
            sessions=tuple(found.sessions),
        )


class _Found:
    """A `Recorder` that keeps the sessions and lets everything else go."""

    def __init__(self) -> None:
        self.sessions: list[SessionSummary] = []

    def begin(self, session: int, first_frame: int) -> None:
        """See `Recorder`."""

    def event(self, session: int, event: Event) -> None:
        """See `Recorder`."""

    def row(self, table: str, session: int | None, frame: int, values: Mapping[str, object]) -> None:
        """See `Recorder`."""

    def redirection(self, redirection: Redirection) -> None:
        """See `Recorder`."""

    def unclaimed(self, frames: NDArray[np.integer]) -> None:
        """See `Recorder`."""

    def open_medium(
        self, session: int, header: bytes, name: str, kind: MediumKind = "faithful", source: str = ""
    ) -> MediumWriter:
        """See `Recorder`."""
        return _Nowhere()

    def anomalies(self, flow: Flow, rows: NDArray[np.void]) -> None:
        """See `Recorder`."""

    def conflict(self, flow: Flow, side: int, conflict: Conflict) -> None:
        """See `Recorder`."""

    def flow(
        self,
        summary: FlowSummary,
        sessions: Sequence[int],
        protocol: str,
        client: Endpoint | None,
        receiver: Endpoint | None,
    ) -> None:
        """See `Recorder`."""

    def session(self, summary: SessionSummary) -> None:
        """See `Recorder`."""
        self.sessions.append(replace(summary, url=masked_text(summary.url)))


class _Nowhere:
    """A `MediumWriter` that writes nothing."""

    def write(self, block: MediumBlock) -> None:
        """See `MediumWriter`."""

    def salvage(self, block: MediumBlock) -> None:
        """See `MediumWriter`."""

    def restored(self, packet: RestoredPacket) -> None:
        """See `MediumWriter`."""

    def close(self, summary: MediumSummary) -> None:
        """See `MediumWriter`."""
