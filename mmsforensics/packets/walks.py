"""The walks over the file formats: the compiled pass, what Python reads between its runs, and damage.

Rules of this file:

* damage costs what is damaged: the walk goes on at the next place that is sound
  (`mmsforensics.evidence.resync`), and the bytes between are told;
* a search ends with the window, and goes on in the next one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmsforensics.evidence import netmon, pcap, pcapng, snoop
from mmsforensics.evidence.files import Evidence
from mmsforensics.evidence.problem import Problem, Problems
from mmsforensics.evidence.records import RECORD
from mmsforensics.packets.scan_pass import CONTROL, DONE, FULL, indexed_pass, pcap_pass, pcapng_pass
from mmsforensics.packets.table import NO_TIME

LATEST = 5
"""Frames whose median time is that of the place where damage begins."""

SECOND = 1_000_000_000
NO_SECONDS = -1

Rows = NDArray[np.void]


class Walk(Protocol):
    """A file format's walk."""

    link_types: list[int]
    problems: Problems

    def step(self, pos: int, stop: int, rows: Rows, frames: int) -> tuple[int, int, bool]:
        """Write rows of the records from `pos` on that begin before `stop`.

        Returns
        -------
        count, pos, alive
            Rows written, where the walk stands, whether it can go on.
        """

    @property
    def notes(self) -> list[str]:
        """What the file says of itself."""

    @property
    def skipped(self) -> int:
        """Blocks or frames that are none of a network."""


class _Resumable(Protocol):
    """A walk that can look for the next sound place."""

    problems: Problems
    lost: Problem | None
    """The damage behind which the walk looks for a sound place."""

    def run(self, pos: int, stop: int, rows: Rows, frames: int) -> tuple[int, int, Problem | None]:
        """Walk up to the end of the window, of the table, or to damage that must be searched behind."""

    def search(self, pos: int, stop: int) -> int:
        """The first sound place from `pos` on, or one below 0."""

    def end(self) -> int:
        """Bytes that can be read."""


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


def _step(walk: _Resumable, pos: int, stop: int, rows: Rows, frames: int) -> tuple[int, int, bool]:
    """A `Walk.step` that goes on behind damage."""
    total = 0
    while True:
        if walk.lost is None:
            count, pos, damage = walk.run(pos, stop, rows[total:], frames + total)
            total += count
            if damage is None:
                return total, pos, True
            walk.lost = replace(damage, passed_over=(pos, pos))
            pos += 1
        start = (walk.lost.passed_over or (pos, pos))[0]
        place = walk.search(pos, min(stop, walk.end()))
        if place < 0 and stop < walk.end():
            return total, stop, True
        after = place if place >= 0 else walk.end()
        walk.problems.add(replace(walk.lost, passed_over=(start, after)))
        walk.lost = None
        if place < 0:
            return total, after, False
        pos = after
        if pos >= stop:
            return total, pos, True


class _Clock:
    """About when the last frames were: one of them may be stray."""

    __slots__ = ("_latest",)

    def __init__(self) -> None:
        self._latest: list[int] = []

    def saw(self, rows: Rows, count: int) -> None:
        """Take the frames of ``rows[:count]``."""
        times = rows["ts"][max(count - LATEST, 0) : count]
        self._latest = [*self._latest, *times[times != NO_TIME].tolist()][-LATEST:]

    @property
    def seconds(self) -> int:
        """Seconds since 1970, `NO_SECONDS` if too few frames were seen to tell."""
        if len(self._latest) < LATEST:
            return NO_SECONDS
        return sorted(self._latest)[LATEST // 2] // SECOND


class _PcapWalk:
    """The walk over a pcap file's records."""

    def __init__(self, evidence: Evidence, header: pcap.PcapHeader) -> None:
        self._evidence = evidence
        self._header = header
        self._tick = 1 if header.nanosecond else 1000
        self._clock = _Clock()
        self.link_types = [header.link]
        self.problems = Problems(evidence.label)
        self.notes = [header.variant] if header.variant else []
        self.skipped = 0
        self.lost: Problem | None = None

    def step(self, pos: int, stop: int, rows: Rows, frames: int) -> tuple[int, int, bool]:
        """See `Walk`."""
        return _step(self, max(pos, self._header.file_header), stop, rows, frames)

    def run(self, pos: int, stop: int, rows: Rows, frames: int) -> tuple[int, int, Problem | None]:
        """See `_Resumable`."""
        header, data = self._header, self._evidence.data
        count, pos, code = pcap_pass(
            data,
            pos,
            stop,
            rows,
            frames,
            header.big,
            header.swapped,
            self._tick,
            header.captured_limit,
            header.link,
            header.record_header,
        )
        self._clock.saw(rows, count)
        if code in (DONE, FULL):
            return count, pos, None
        return count, pos, pcap.explain(self._evidence.label, data, pos, frames + count + 1, code, header)

    def search(self, pos: int, stop: int) -> int:
        """See `_Resumable`."""
        from mmsforensics.evidence.resync import find_record  # compiled code that few captures need

        header = self._header
        return int(
            find_record(
                self._evidence.data,
                pos,
                stop,
                header.big,
                header.swapped,
                SECOND // self._tick,
                header.captured_limit,
                header.record_header,
                self._clock.seconds,
            )
        )

    def end(self) -> int:
        """See `_Resumable`."""
        return len(self._evidence.data)


class _PcapngWalk:
    """The walk over a pcapng file's blocks."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._section = pcapng.Section()
        self._tallies = np.zeros(len(pcapng.TALLIES) + 1, dtype=np.int64)
        self._comments = np.zeros((pcapng.MAX_NOTES, 2), dtype=np.int64)
        self._comments_read = 0
        self._only_sections = False
        self.link_types: list[int] = []
        self.problems = Problems(evidence.label)
        self.lost: Problem | None = None

    @property
    def notes(self) -> list[str]:
        """See `Walk`."""
        notes = [*self._section.notes, *self._section.statistics.values()]
        tallies = pcapng.tally_note(self._tallies)
        if tallies is not None:
            notes.append(tallies)
        more = int(self._tallies[-1]) - len(self._comments)
        return [*notes, f"{more} more frames have comments"] if more > 0 else notes

    @property
    def skipped(self) -> int:
        """See `Walk`."""
        return int(self._tallies[:-1].sum())

    def step(self, pos: int, stop: int, rows: Rows, frames: int) -> tuple[int, int, bool]:
        """See `Walk`."""
        return _step(self, pos, stop, rows, frames)

    def run(self, pos: int, stop: int, rows: Rows, frames: int) -> tuple[int, int, Problem | None]:
        """See `_Resumable`."""
        section, path, data = self._section, self._evidence.label, self._evidence.data
        total = 0
        while True:
            if pos == 0:
                count, code = 0, CONTROL
            else:
                count, pos, code = self._pass(pos, stop, rows[total:], frames + total)
            total += count
            if code in (DONE, FULL):
                return total, pos, None
            after: int | Problem
            if code == CONTROL:
                after = pcapng.read_control(path, data, pos, section)
                self._note_link()
            else:
                after = pcapng.explain(path, data, pos, frames + total + 1, code, section)
            if isinstance(after, Problem):
                if after.passed_over is None:
                    self._only_sections = after.expected == pcapng.KNOWN_VERSION
                    return total, pos, after
                self.problems.add(after)
                after = after.passed_over[1]
            pos = after
            if pos >= stop:
                return total, pos, None

    def search(self, pos: int, stop: int) -> int:
        """See `_Resumable`."""
        from mmsforensics.evidence.resync import find_block  # compiled code that few captures need

        return int(find_block(self._evidence.data, pos, stop, self._section.big, self._only_sections))

    def end(self) -> int:
        """See `_Resumable`."""
        return len(self._evidence.data)

    def _note_link(self) -> None:
        section = self._section
        if section.count:
            link = int(section.interfaces[section.count - 1]["link"])
            if link not in self.link_types:
                self.link_types.append(link)

    def _pass(self, pos: int, stop: int, rows: Rows, frames: int) -> tuple[int, int, int]:
        section, data = self._section, self._evidence.data
        result: tuple[int, int, int] = pcapng_pass(
            data,
            pos,
            stop,
            rows,
            frames,
            section.big,
            section.interfaces,
            section.count,
            self._tallies,
            self._comments,
        )
        known = min(int(self._tallies[-1]), len(self._comments))
        for frame, block in self._comments[self._comments_read : known].tolist():
            for text in pcapng.packet_comments(data, block, section):
                section.note(f"frame {frame}: comment: {text}")
        self._comments_read = known
        return result


class _SnoopWalk:
    """The walk over a snoop file's records."""

    def __init__(self, evidence: Evidence, link: int) -> None:
        self._evidence = evidence
        self.link_types = [link]
        self.problems = Problems(evidence.label)
        self.notes: list[str] = []
        self.skipped = 0
        self.lost: Problem | None = None
        self._drops = 0
        self._clock = _Clock()

    def step(self, pos: int, stop: int, rows: Rows, frames: int) -> tuple[int, int, bool]:
        """See `Walk`."""
        return _step(self, max(pos, snoop.FILE_HEADER), stop, rows, frames)

    def run(self, pos: int, stop: int, rows: Rows, frames: int) -> tuple[int, int, Problem | None]:
        """See `_Resumable`."""
        data = self._evidence.data
        index = np.empty(len(rows), dtype=RECORD)
        count, pos, code, drops = snoop.walk(data, pos, stop, self.link_types[0], index)
        self._drops = max(self._drops, int(drops))  # cumulative [RFC 1761]
        if self._drops:
            self.notes = [f"the capturing program counted {self._drops} lost packets"]
        indexed_pass(data, index[:count], rows, frames)
        self._clock.saw(rows, count)
        if code in (snoop.OK, snoop.FULL):
            return count, pos, None
        return count, pos, snoop.explain(self._evidence.label, data, pos, frames + count + 1, code)

    def search(self, pos: int, stop: int) -> int:
        """See `_Resumable`."""
        from mmsforensics.evidence.resync import find_snoop  # compiled code that few captures need

        return int(find_snoop(self._evidence.data, pos, stop, self._clock.seconds))

    def end(self) -> int:
        """See `_Resumable`."""
        return len(self._evidence.data)


class _NetmonWalk:
    """The walk over the frames of a Network Monitor file."""

    def __init__(self, evidence: Evidence, file: netmon.NetmonFile) -> None:
        self._evidence = evidence
        self._file = file
        self._next = 0
        self.link_types: list[int] = []
        self.problems = Problems(evidence.label)
        for problem in file.problems:
            self.problems.add(problem)
        self.notes = file.notes
        self.skipped = 0

    def step(self, pos: int, stop: int, rows: Rows, frames: int) -> tuple[int, int, bool]:
        """See `Walk`."""
        index = np.empty(0, dtype=RECORD)
        while not len(index):
            index, more = self._found(stop, len(rows))
            if not more:
                break
        indexed_pass(self._evidence.data, index, rows, frames)
        for link in dict.fromkeys(index["link"].tolist()):
            if link not in self.link_types:
                self.link_types.append(link)
        after = int(index["start"][-1] + index["captured"][-1]) if len(index) else max(pos, stop)
        return len(index), after, True

    def _found(self, stop: int, room: int) -> tuple[Rows, bool]:
        """Find the next frames of a network, and whether there were any of the table before `stop`."""
        evidence, file = self._evidence, self._file
        index, after, problems = netmon.find(evidence.label, evidence.data, file, self._next, stop, room)
        for problem in problems:
            self.problems.add(problem)
        self.skipped += after - self._next - len(index) - len(problems)
        more = after > self._next
        self._next = after
        return index, more
