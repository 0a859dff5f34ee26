"""What a capture is and what Windows Media is in it, without making a case."""

from __future__ import annotations

import os
from dataclasses import dataclass

from mmsforensics.evidence import open_evidence
from mmsforensics.packets import CaptureScan, ScanSummary
from mmsforensics.sessions import Event, MediumBlock, MediumSummary, MediumWriter, SessionRoom, SessionSummary
from mmsforensics.streams import FlowTable


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
    flows: int
    """TCP connections and UDP endpoint pairs."""
    sessions: tuple[SessionSummary, ...]
    """Of Windows Media, in order of their ends."""


def survey(path: str | os.PathLike[str]) -> Survey:
    """Describe a capture; nothing is written and nothing hashed.

    Parameters
    ----------
    path : path
        A capture file, compressed or not.

    Raises
    ------
    OSError
        The file cannot be opened.
    """
    found = _Found()
    with open_evidence(path) as evidence:
        scan, flows, room = CaptureScan(evidence, hashing=False), FlowTable(), SessionRoom(found)
        for batch in scan:
            room.feed(flows.feed(batch))
        room.finish()
        return Survey(
            path=evidence.path,
            size=evidence.size,
            format=evidence.format,
            wrapping=evidence.wrapping,
            scan=scan.summary,
            flows=flows.flows_seen,
            sessions=tuple(found.sessions),
        )


class _Found:
    """A `Recorder` that keeps the sessions and lets everything else go."""

    def __init__(self) -> None:
        self.sessions: list[SessionSummary] = []

    def event(self, session: int, event: Event) -> None:
        """See `Recorder`."""

    def open_medium(self, session: int, header: bytes, name: str) -> MediumWriter:
        """See `Recorder`."""
        return _Nowhere()

    def stray_packets(self, session: int, block: MediumBlock) -> None:
        """See `Recorder`."""

    def session(self, summary: SessionSummary) -> None:
        """See `Recorder`."""
        self.sessions.append(summary)


class _Nowhere:
    """A `MediumWriter` that writes nothing."""

    def write(self, block: MediumBlock) -> None:
        """See `MediumWriter`."""

    def close(self, summary: MediumSummary) -> None:
        """See `MediumWriter`."""
