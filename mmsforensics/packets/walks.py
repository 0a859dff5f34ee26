"""The walks over the file formats: the compiled pass, and what Python reads between its runs."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmsforensics.evidence import netmon, pcap, pcapng, snoop
from mmsforensics.evidence.files import Evidence
from mmsforensics.evidence.problem import Problem
from mmsforensics.evidence.records import RECORD
from mmsforensics.packets.scan_pass import CONTROL, DONE, FULL, indexed_pass, pcap_pass, pcapng_pass


class Walk(Protocol):
    """A file format's walk."""

    link_types: list[int]
    problems: list[Problem]
    notes: list[str]
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
    path, data = evidence.label, evidence.data
    match evidence.format:
        case "pcap":
            header = pcap.read_header(path, data)
            return header if isinstance(header, Problem) else _PcapWalk(evidence, header)
        case "pcapng":
            return _PcapngWalk(evidence)
        case "snoop":
            link = snoop.read_header(path, data)
            return link if isinstance(link, Problem) else _SnoopWalk(evidence, link)
        case "netmon":
            file = netmon.read_file(path, data)
            return file if isinstance(file, Problem) else _NetmonWalk(evidence, file)
        case _:
            return None


class _PcapWalk:
    """The walk over a pcap file's records."""

    def __init__(self, evidence: Evidence, header: pcap.PcapHeader) -> None:
        self._evidence = evidence
        self._header = header
        self._tick = 1 if header.nanosecond else 1000
        self.link_types = [header.link]
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.skipped = 0

    def step(self, pos: int, stop: int, rows: NDArray[np.void], frames: int) -> tuple[int, int, bool]:
        """See `Walk`."""
        header, data = self._header, self._evidence.data
        pos = max(pos, pcap.FILE_HEADER)
        count, pos, code = pcap_pass(
            data,
            pos,
            stop,
            rows,
            frames,
            header.big,
            self._tick,
            header.captured_limit,
            header.link,
            header.record_header,
        )
        if code in (DONE, FULL):
            return count, pos, True
        frame = frames + count + 1
        self.problems.append(pcap.explain(self._evidence.label, data, pos, frame, code, header))
        return count, pos, False


class _PcapngWalk:
    """The walk over a pcapng file's blocks."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._section = pcapng.Section()
        self.link_types: list[int] = []
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.skipped = 0

    def step(self, pos: int, stop: int, rows: NDArray[np.void], frames: int) -> tuple[int, int, bool]:
        """See `Walk`."""
        section, path, data = self._section, self._evidence.label, self._evidence.data
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


class _SnoopWalk:
    """The walk over a snoop file's records."""

    def __init__(self, evidence: Evidence, link: int) -> None:
        self._evidence = evidence
        self.link_types = [link]
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.skipped = 0
        self._drops = 0

    def step(self, pos: int, stop: int, rows: NDArray[np.void], frames: int) -> tuple[int, int, bool]:
        """See `Walk`."""
        data = self._evidence.data
        index = np.empty(len(rows), dtype=RECORD)
        pos = max(pos, snoop.FILE_HEADER)
        count, pos, code, drops = snoop.walk(data, pos, stop, self.link_types[0], index)
        self._drops = max(self._drops, int(drops))  # cumulative [RFC 1761]
        if self._drops:
            self.notes = [f"the capturing program counted {self._drops} lost packets"]
        indexed_pass(data, index[:count], rows, frames)
        if code in (snoop.OK, snoop.FULL):
            return count, pos, True
        frame = frames + count + 1
        self.problems.append(snoop.explain(self._evidence.label, data, pos, frame, code))
        return count, pos, False


class _NetmonWalk:
    """The walk over the frames of a Network Monitor file."""

    def __init__(self, evidence: Evidence, file: netmon.NetmonFile) -> None:
        self._evidence = evidence
        self._file = file
        self._next = 0
        self.link_types: list[int] = []
        self.problems = file.problems
        self.notes = file.notes
        self.skipped = 0

    def step(self, pos: int, stop: int, rows: NDArray[np.void], frames: int) -> tuple[int, int, bool]:
        """See `Walk`."""
        while True:
            index, problem, alive = self._found(pos, stop, len(rows))
            if len(index) or not alive or problem is not None:
                break
        indexed_pass(self._evidence.data, index, rows, frames)
        for link in dict.fromkeys(index["link"].tolist()):
            if link not in self.link_types:
                self.link_types.append(link)
        if problem is not None:
            self.problems.append(problem)
        after = int(index["start"][-1] + index["captured"][-1]) if len(index) else max(pos, stop)
        return len(index), after, problem is None

    def _found(self, pos: int, stop: int, room: int) -> tuple[NDArray[np.void], Problem | None, bool]:
        """Find the next frames of a network, and whether there are more before `stop`."""
        evidence, file = self._evidence, self._file
        index, after, problem = netmon.find(evidence.label, evidence.data, file, self._next, pos, stop, room)
        self.skipped += after - self._next - len(index)
        more = after > self._next
        self._next = after
        return index, problem, more
