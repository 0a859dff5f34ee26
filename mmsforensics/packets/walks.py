"""The walks over the file formats: the compiled pass, and what Python reads between its runs."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmsforensics.evidence import pcap, pcapng
from mmsforensics.evidence.files import Evidence
from mmsforensics.evidence.problem import Problem
from mmsforensics.packets.scan_pass import CONTROL, DONE, FULL, pcap_pass, pcapng_pass


class Walk(Protocol):
    """A file format's walk."""

    link_types: list[int]
    problems: list[Problem]
    skipped: int

    def step(self, pos: int, stop: int, rows: NDArray[np.void], frames: int) -> tuple[int, int, bool]:
        """Write rows of the records from `pos` on that begin before `stop`.

        Returns
        -------
        count, pos, alive
            Rows written, where the walk stands, whether it can go on.
        """


def begin_walk(evidence: Evidence) -> Walk | Problem | None:
    """Return the walk for the file's format: None if there is none, a problem if it cannot begin."""
    if evidence.format == "pcap":
        header = pcap.read_header(evidence.path, evidence.data)
        return header if isinstance(header, Problem) else _PcapWalk(evidence, header)
    return _PcapngWalk(evidence) if evidence.format == "pcapng" else None


class _PcapWalk:
    """The walk over a pcap file's records."""

    def __init__(self, evidence: Evidence, header: pcap.PcapHeader) -> None:
        self._evidence = evidence
        self._header = header
        self._tick = 1 if header.nanosecond else 1000
        self.link_types = [header.link]
        self.problems: list[Problem] = []
        self.skipped = 0

    def step(self, pos: int, stop: int, rows: NDArray[np.void], frames: int) -> tuple[int, int, bool]:
        """See `Walk`."""
        header, data = self._header, self._evidence.data
        pos = max(pos, pcap.FILE_HEADER)
        count, pos, code = pcap_pass(
            data, pos, stop, rows, frames, header.big, self._tick, header.captured_limit, header.link
        )
        if code in (DONE, FULL):
            return count, pos, True
        frame = frames + count + 1
        self.problems.append(pcap.explain(self._evidence.path, data, pos, frame, code, header))
        return count, pos, False


class _PcapngWalk:
    """The walk over a pcapng file's blocks."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._section = pcapng.Section()
        self.link_types: list[int] = []
        self.problems: list[Problem] = []
        self.skipped = 0

    def step(self, pos: int, stop: int, rows: NDArray[np.void], frames: int) -> tuple[int, int, bool]:
        """See `Walk`."""
        section, path, data = self._section, self._evidence.path, self._evidence.data
        total = 0
        while True:
            if pos == 0:
                count, code = 0, CONTROL
            else:
                count, pos, code, skipped = self._pass(pos, stop, rows[total:], frames + total)
                self.skipped += skipped
            total += count
            if code in (DONE, FULL):
                return total, pos, True
            after: int | Problem
            if code == CONTROL:
                after = pcapng.read_control(path, data, pos, section)
            else:
                after = pcapng.explain(path, data, pos, frames + total + 1, code, section)
            if isinstance(after, Problem):
                self.problems.append(after)
                return total, pos, False
            if section.count:
                link = int(section.interfaces[section.count - 1]["link"])
                if link not in self.link_types:
                    self.link_types.append(link)
            pos = after

    def _pass(self, pos: int, stop: int, rows: NDArray[np.void], frames: int) -> tuple[int, int, int, int]:
        section = self._section
        result: tuple[int, int, int, int] = pcapng_pass(
            self._evidence.data, pos, stop, rows, frames, section.big, section.interfaces, section.count
        )
        return result
