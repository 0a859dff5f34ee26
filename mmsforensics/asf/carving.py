"""ASF files found in any bytes: disk images, memory, unallocated space, damaged containers.

Rules of this file:

* a file is looked for wherever the GUID of a Header Object stands, aligned or not. What has no object that
  is known is no header, and only counted;
* nothing is believed that the bytes do not bear out: a file goes on as long as its data packets parse and
  are of streams that its header declares. `RUN` packets that are not end it behind the last that was, unless
  it states that it is longer and `RESUME` packets go on where they should;
* files are found in files, and may overlap: each is told, with the file it lies in;
* a last packet in which another header begins is not counted as the file's. Other data can look like the end
  of a packet: of cut and live files the last one is to be read with care;
* memory does not grow with the blob; time grows with its size, however many files lie in each other.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.asf.file import BEHIND_DATA, BLOCK, COPY, MAX_HEADER, AsfError
from mmsforensics.asf.header import Header, parse_header
from mmsforensics.asf.objects import LAYOUTS
from mmsforensics.asf.packets import walk_payloads
from mmsforensics.asf.tree import DATA_OBJECT, DATA_OBJECT_HEAD, FRAME, HEADER_FIELDS, HEADER_OBJECT

WINDOW = 64 << 20
"""Bytes searched before their pages are given back."""

RUN = 16
"""Packets that do not parse, one behind the other, that end a file: fewer may be damage within it."""

RESUME = 4
"""Sound packets behind such a run that belong to the file: one alone may be chance."""

HEADER_READ = 16 << 10
"""Bytes in which most headers lie."""

SHARE = 4
"""Bytes looked at for headers, and for files inside others, as a multiple of the blob's size."""

SHARE_FREE = 64 << 20
"""Bytes looked at in any case."""


class Verdict(StrEnum):
    """How much of a file is there."""

    COMPLETE = "complete"
    """All packets that its header states, and all of them parse."""
    DAMAGED = "damaged"
    """As many bytes as stated, but packets within do not parse."""
    CUT = "cut"
    """It ends before the stated end."""
    LIVE = "live"
    """It states no end, as live recordings do, and goes as far as its packets do."""
    HEADER = "header"
    """No data packets behind the header."""


@dataclass(frozen=True, slots=True)
class Carved:
    """An ASF file found in a blob."""

    offset: int
    size: int
    """Bytes that belong to it; of a file that is cut, up to its last whole packet."""
    verdict: Verdict
    reason: str
    packets: int
    """Data packets in it."""
    unsound: int
    """Those of them that do not parse."""
    stated_packets: int | None
    """What its header states; None for a live recording."""
    stated_size: int | None
    within: int | None
    """Offset of the file it lies in, or begins in."""
    header: Header = field(repr=False)

    @property
    def suffix(self) -> str:
        """What such files are usually called: wmv, wma or asf."""
        types = {stream.type for stream in self.header.streams}
        return "wmv" if "video" in types else "wma" if "audio" in types else "asf"


@dataclass(slots=True)
class Carver:
    """Goes through a blob; iterate over it, and close it."""

    _map: mmap.mmap | bytes
    size: int
    """Bytes of the blob."""
    tell: Callable[[int], None] | None = None
    """Is told how many bytes were gone through."""
    rejected: int = 0
    """Header GUIDs with nothing behind them that a header would have."""
    _budget: int = 0
    _outer: tuple[int, int] = (0, 0)
    """Begin and end of the file found so far that reaches furthest."""

    def __iter__(self) -> Iterator[Carved]:
        """Find the files in the order of their offsets."""
        self.rejected, self._outer, self._budget = 0, (0, 0), SHARE * self.size + SHARE_FREE
        for at in self._hits():
            found = self._look(at)
            if found is None:
                self.rejected += 1
                continue
            if at + found.size > self._outer[1]:
                self._outer = (at, at + found.size)
            yield found

    def close(self) -> None:
        """Let go of the blob."""
        if isinstance(self._map, mmap.mmap):
            self._map.close()

    def read(self, offset: int, length: int) -> bytes:
        """Read bytes of the blob."""
        return self._map[offset : offset + length]

    def release(self, begin: int, end: int) -> None:
        """Give memory back of bytes that were read."""
        _release(self._map, begin, end)

    def _hits(self) -> Iterator[int]:
        for begin in range(0, self.size, WINDOW):
            end = min(begin + WINDOW, self.size)
            at = self._map.find(HEADER_OBJECT, begin, end + len(HEADER_OBJECT) - 1)
            while at >= 0:
                yield at
                at = self._map.find(HEADER_OBJECT, at + 1, end + len(HEADER_OBJECT) - 1)
            self.release(begin, end)
            if self.tell is not None:
                self.tell(end)

    def _look(self, at: int) -> Carved | None:
        """Judge what stands at a header GUID; None when it is no header."""
        if not self._may_be_header(at):
            return None
        within = self._outer[0] if at < self._outer[1] else None
        if self._budget <= 0:
            reason = "not looked into: too many files lie in each other"
            return Carved(at, HEADER_FIELDS, Verdict.HEADER, reason, 0, 0, None, None, within, Header((), 0))
        stated = int.from_bytes(self.read(at + 16, 8), "little")
        raw = self.read(at, min(max(stated + DATA_OBJECT_HEAD, HEADER_READ), MAX_HEADER))
        self._budget -= len(raw)
        header = parse_header(raw)
        if not any(item.guid in LAYOUTS for item in header.tree):
            return None
        if not header.data_offset or not header.packet_size:
            return self._header_only(at, header, within)
        return self._judge(at, self._walked(at, header, within), within)

    def _walked(self, at: int, header: Header, within: int | None) -> _Walk:
        """Go through the packets of a file."""
        room = self.size - at
        walk = _Walk(header, min(room, _stated_end(header) or room))
        for block in walk.blocks(self._map, at):
            walk.take(block)
            if within is not None:
                self._budget -= len(block)
            if walk.over or self._budget <= 0:
                break
        if walk.last and self._begins_another(at + walk.end - header.packet_size, header.packet_size):
            walk.drop_last()
        return walk

    def _begins_another(self, begin: int, length: int) -> bool:
        """Whether a header begins in a packet."""
        at = self._map.find(HEADER_OBJECT, begin, begin + length + len(HEADER_OBJECT) - 1)
        return at >= 0 and self._may_be_header(at)

    def _may_be_header(self, at: int) -> bool:
        """Whether what headers have stands behind a GUID: reserved bytes, or a known object."""
        return self.read(at + 28, 2) == b"\x01\x02" or self.read(at + HEADER_FIELDS, 16) in LAYOUTS

    def _header_only(self, at: int, header: Header, within: int | None) -> Carved:
        if at + header.size >= self.size:
            reason = "the blob ends within the header"
        elif not header.data_offset:
            reason = "no Data Object stands behind the header"
        else:
            reason = f"packets cannot be told by a size of {header.max_packet_size} bytes"
        count, size = _stated(header)
        return Carved(at, header.size, Verdict.HEADER, reason, 0, 0, count, size, within, header)

    def _judge(self, at: int, walk: _Walk, within: int | None) -> Carved:
        header, kept = walk.header, walk.last
        unsound = kept - walk.sound
        end = walk.end
        stated_end = _stated_end(header)
        wanted = 0 if stated_end is None else (stated_end - header.data_offset) // header.packet_size
        if not kept:
            verdict, reason = Verdict.HEADER, "no data packet stands behind the header"
        elif stated_end is None:
            what = "a live recording" if header.broadcast else "its Data Object"
            verdict, reason = Verdict.LIVE, f"{what} states no end; {kept} packets follow"
            end, _ = self._behind(at, end, header)
        elif kept < wanted:
            verdict, reason = Verdict.CUT, self._why_cut(at, walk, wanted)
        else:
            end, whole = self._behind(at, stated_end, header)
            verdict, reason = Verdict.COMPLETE, f"all {kept} packets that the header states"
            if unsound:
                verdict, reason = Verdict.DAMAGED, f"{unsound} of {kept} packets do not parse"
            elif not whole:
                verdict, reason = Verdict.CUT, "the blob ends behind the packets, before the stated end"
        count, size = _stated(header)
        return Carved(at, end, verdict, reason, kept, unsound, count, size, within, header)

    def _why_cut(self, at: int, walk: _Walk, wanted: int) -> str:
        header, kept = walk.header, walk.last
        if self._budget <= 0:
            return f"looked at no further than {kept} of {wanted} packets: too many files lie in each other"
        if walk.taken - kept >= RUN:
            return f"packets stop after {kept} of {wanted}: what follows are none of this file"
        if at + header.data_offset + wanted * header.packet_size > self.size:
            return f"the blob ends after {kept} of {wanted} packets"
        return f"the last {wanted - kept} of {wanted} packets do not parse"

    def _behind(self, at: int, end: int, header: Header) -> tuple[int, bool]:
        """Go over the objects behind the data; returns the end, and whether all of it is there."""
        if at + end > self.size:
            return self.size - at, False
        while at + end + FRAME <= self.size:
            guid = self.read(at + end, 16)
            size = int.from_bytes(self.read(at + end + 16, 8), "little")
            stated = not header.broadcast and end + size <= header.file_size
            if size < FRAME or guid in (HEADER_OBJECT, DATA_OBJECT) or not (guid in BEHIND_DATA or stated):
                break
            if at + end + size > self.size:
                return self.size - at, False
            end += size
        return end, True


@dataclass(slots=True)
class _Walk:
    """How far the packets behind a header are its own."""

    header: Header
    limit: int
    """Offset from the header behind which they are not looked for."""
    _counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(5, dtype=np.int64))

    @property
    def taken(self) -> int:
        """Packets looked at."""
        return int(self._counts[0])

    @property
    def last(self) -> int:
        """Packets up to the last that is the file's."""
        return int(self._counts[1])

    @property
    def end(self) -> int:
        """Offset from the header behind the last packet that is the file's."""
        return self.header.data_offset + self.last * self.header.packet_size

    def drop_last(self) -> None:
        """Take the last packet, which was sound, for one of another file; one that is stated stays."""
        stated = _stated_end(self.header)
        if stated is None or self.end < stated:
            self._counts[1] -= 1
            self._counts[2] -= 1

    @property
    def sound(self) -> int:
        """Sound packets among those."""
        return int(self._counts[2])

    @property
    def over(self) -> bool:
        """Whether the file has ended."""
        return bool(self._counts[4])

    def blocks(self, data: mmap.mmap | bytes, at: int) -> Iterator[NDArray[np.uint8]]:
        """Read the packets, some at a time."""
        size = self.header.packet_size
        step = max(BLOCK // size, 1) * size
        for begin in range(self.header.data_offset, self.limit - size + 1, step):
            length = min(step, (self.limit - begin) // size * size)
            yield np.frombuffer(data[at + begin : at + begin + length], dtype=np.uint8)
            _release(data, at + begin, at + begin + length)

    def take(self, block: NDArray[np.uint8]) -> None:
        """Judge the packets of a block."""
        heads, payloads = walk_payloads(block, self.header.packet_size)
        good = heads["ok"] == 1
        if self.header.streams:
            declared = np.zeros(128, dtype=np.bool_)
            declared[[stream.number for stream in self.header.streams]] = True
            good[payloads["packet"][~declared[payloads["stream"]]]] = False
        _count(good, _stated_end(self.header) is None, self._counts)


@njit(cache=True, nogil=True)
def _count(good, live, counts):
    """Go on with `counts`: packets taken, up to the last that counts, sound, running sound ones, over."""
    for k in range(len(good)):
        gap = counts[0] - counts[1]
        counts[0] += 1
        if not good[k]:
            counts[3] = 0
            if live and gap + 1 >= RUN:
                counts[4] = 1
                return
            continue
        counts[3] += 1
        if gap < RUN:
            counts[1] = counts[0]
            counts[2] += 1
        elif counts[3] == RESUME:
            counts[1] = counts[0]
            counts[2] += RESUME


def _release(data: mmap.mmap | bytes, begin: int, end: int) -> None:
    """Give pages back that were gone through; those at the edges may stay."""
    begin += -begin % mmap.PAGESIZE
    if isinstance(data, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") and begin < end:
        data.madvise(mmap.MADV_DONTNEED, begin, end - begin)


def _stated(header: Header) -> tuple[int | None, int | None]:
    """Packets and bytes that a header states."""
    return (None, None) if header.broadcast else (header.packet_count, header.file_size)


def _stated_end(header: Header) -> int | None:
    """Where the data end by the size of the Data Object; None when it states none."""
    if header.broadcast or header.data_size < DATA_OBJECT_HEAD:
        return None
    return header.size + header.data_size


def open_blob(path: str | os.PathLike[str]) -> Carver:
    """Open a blob to look for ASF files in it.

    Parameters
    ----------
    path : path
        A file or device of any kind that can be mapped.

    Raises
    ------
    AsfError
        It cannot be mapped, as a pipe can not.
    OSError
        It cannot be read.
    """
    with Path(path).open("rb") as file:
        try:
            size = file.seek(0, os.SEEK_END)
            if not size:
                return Carver(b"", 0)
            return Carver(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ), size)
        except ValueError as error:
            raise AsfError(f"{path}: cannot be mapped: {error}") from error


@dataclass(frozen=True, slots=True)
class Written:
    """A carved file that was written."""

    path: Path
    sha256: str


def write_carved(carver: Carver, found: Carved, folder: Path, prefix: str = "") -> Written:
    """Write a carved file, byte for byte as it stands in the blob.

    Parameters
    ----------
    carver : Carver
    found : Carved
        One of its files.
    folder : Path
        Of existing files none is written over.
    prefix : str
        Of the name, which is the offset in hex: names in evidence are not used.

    Raises
    ------
    OSError
        It cannot be written, or is there already.
    """
    path = folder / f"{prefix}{found.offset:012x}.{found.suffix}"
    digest = hashlib.sha256()
    with path.open("xb") as out:
        for at in range(found.offset, found.offset + found.size, COPY):
            part = carver.read(at, min(COPY, found.offset + found.size - at))
            digest.update(part)
            out.write(part)
            carver.release(at, at + len(part))
    return Written(path, digest.hexdigest())
