"""Microsoft Network Monitor files, versions 1 and 2 [NetMon2 SDK: CAPTUREFILE_HEADER_VALUES, FRAME].

Rules of this file:

* frames are found by the frame table, in its order; numbers are little-endian;
* the file says when the capture began in the local time of the machine, and not in which zone. That time is
  taken for UTC, and a note says so; only frames of version 2.3 carry UTC of their own.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmsforensics.evidence.formats import NETMON_MAGICS, Bytes
from mmsforensics.evidence.problem import Problem
from mmsforensics.evidence.records import RECORD

FILE_HEADER: Final = 32
"""Signature, version, MacType, begin of the capture, place and length of the frame table."""

FRAME_HEADERS: Final = {1: 8, 2: 16}
"""Bytes before a frame: time in ms and lengths of 16 bits, or in µs and lengths of 32 bits."""

LINKS: Final = {1: 1, 2: 6, 3: 10}
"""Link type (DLT) by MacType: Ethernet, Token Ring, FDDI."""

UNKNOWN_LINK: Final = 0xFF00
"""Above all DLT: a MacType that is none of those, added to it as far as it fits."""

PCAP_LINKS: Final = 0xE000
"""MediaType of a frame (version 2.1 on) from which on the lower bits are a DLT."""

PSEUDO_FRAMES: Final = 0xFFFB
"""MediaType from which on frames are Network Monitor's own (filters, process names), not of a network."""

MAX_FRAME: Final = 1 << 24
"""Captured bytes from which on a frame is damage."""

LARGEST: Final = 1 << 62
"""Numbers beyond it are nonsense in every field of the format."""

LONGEST: Final = 1 << 52
"""Microseconds from the begin of the capture at most, 142 years; a larger number is nonsense."""

FILETIME_EPOCH: Final = 116_444_736_000_000_000
"""1970 in units of 100 ns since 1601."""


@dataclass(slots=True)
class NetmonFile:
    """What the header and the frame table say."""

    version: tuple[int, int]
    link: int
    begin: int
    """ns since 1970, local time."""
    offsets: NDArray[np.int64]
    """Of the frames, in order of the file."""
    notes: list[str]
    problems: list[Problem] = field(default_factory=list)


def read_file(path: str, data: Bytes) -> NetmonFile | Problem:
    """Read header and frame table."""
    head = data[:FILE_HEADER].tobytes()
    if len(head) < FILE_HEADER:
        expected = f"a Network Monitor header of {FILE_HEADER} bytes"
        return Problem(path, 0, None, expected, f"only {len(head)} bytes")
    minor, major = head[4], head[5]
    if major != NETMON_MAGICS[head[:4]]:
        return Problem(path, 4, None, f"version {NETMON_MAGICS[head[:4]]}", f"version {major}.{minor}")
    begin = _system_time(head[8:24])
    if begin is None:
        return Problem(path, 8, None, "the time at which the capture began", head[8:24].hex(" "))
    at, length = (int.from_bytes(head[k : k + 4], "little") for k in (24, 28))
    if at < FILE_HEADER or at > len(data):
        return Problem(path, 24, None, f"a frame table inside the file of {len(data)} bytes", f"at {at}")
    table = data[at : at + length // 4 * 4]
    entries = np.frombuffer(table[: len(table) // 4 * 4].tobytes(), dtype="<u4").astype(np.int64)
    mac = int.from_bytes(head[6:8], "little")
    file = NetmonFile(
        (major, minor),
        _link(mac),
        begin,
        np.sort(entries, kind="stable"),
        [],
    )
    if (major, minor) < (2, 3):
        file.notes.append(
            "times are those of the capturing machine's clock in its own, unrecorded time zone, read as UTC"
        )
    if len(table) < length // 4 * 4:
        expected = f"a frame table of {length} bytes"
        file.problems.append(Problem(path, at, None, expected, f"the end of the file after {len(data) - at}"))
    if len(entries) > 1 and (np.diff(entries) < 0).any():
        file.notes.append(
            "the frame table is not in order of the file; frames are numbered as they lie in it"
        )
    return file


def _link(mac: int) -> int:
    return LINKS.get(mac, UNKNOWN_LINK + min(mac, 0xFF))


def _system_time(raw: bytes) -> int | None:
    """A SYSTEMTIME in ns since 1970."""
    year, month, _, day, hour, minute, second, ms = (
        int.from_bytes(raw[k : k + 2], "little") for k in range(0, 16, 2)
    )
    try:
        moment = dt.datetime(year, month, day, hour, minute, second, ms * 1000, tzinfo=dt.UTC)
    except ValueError:
        return None
    since = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000


def find(
    path: str, data: Bytes, file: NetmonFile, first: int, stop: int, room: int
) -> tuple[NDArray[np.void], int, list[Problem]]:
    """Find the frames from number `first` of the table on that begin before `stop`; at most `room` of them.

    Returns
    -------
    index : ndarray of RECORD
        Network Monitor's own frames are left out, and those that are not sound.
    after : int
        Number of the first frame not looked at.
    problems : list of Problem
        The frames that run beyond the file or into the next one.
    """
    last = min(int(np.searchsorted(file.offsets, stop, side="left")), first + room)
    offsets = file.offsets[first:last]
    header = FRAME_HEADERS[file.version[0]]
    inside = offsets + header <= len(data)
    known = offsets[inside]
    captured, wire, times = _fields(data, known, file)
    following = np.append(file.offsets, len(data))[first + 1 : last + 1]
    following = np.where(following > len(data), len(data), following)[: len(known)]
    sound = (known + header + captured <= following) & (captured <= MAX_FRAME)
    problems = []
    for n in np.flatnonzero(~np.append(sound, np.zeros(len(offsets) - len(known), dtype=np.bool_))).tolist():
        found = "the end of the file" if n >= len(known) else f"{int(captured[n])} captured bytes"
        expected = f"a frame that ends before the next one and inside the file of {len(data)} bytes"
        problems.append(Problem(path, int(offsets[n]), None, expected, found))
    index = np.empty(int(np.count_nonzero(sound)), dtype=RECORD)
    index["start"] = known[sound] + header
    index["captured"], index["wire"] = captured[sound], wire[sound]
    index["ts"] = file.begin + times[sound]
    index["link"] = file.link
    if file.version >= (2, 1):
        index = _with_trailers(data, index, file)
    return index, last, problems


def _fields(
    data: Bytes, offsets: NDArray[np.int64], file: NetmonFile
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Captured length, length on the wire, and time since the begin in ns of the frames at offsets."""
    if file.version[0] == 1:
        return (
            _number(data, offsets + 6, 2),
            _number(data, offsets + 4, 2),
            _number(data, offsets, 4) * 1_000_000,
        )
    since = np.minimum(_number(data, offsets, 8), LONGEST) * 1000
    return _number(data, offsets + 12, 4), _number(data, offsets + 8, 4), since


def _number(data: Bytes, at: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Little-endian integers, at most `LARGEST`."""
    value = np.zeros(len(at), dtype=np.uint64)
    for k in range(width):
        value |= data[at + k].astype(np.uint64) << np.uint64(8 * k)
    return np.minimum(value, np.uint64(LARGEST)).astype(np.int64)


def _with_trailers(data: Bytes, index: NDArray[np.void], file: NetmonFile) -> NDArray[np.void]:
    """Take the MediaType behind each frame into account, and from version 2.3 on its UTC time."""
    behind = index["start"] + index["captured"]
    there = behind + 2 <= len(data)
    media = np.zeros(len(index), dtype=np.int64)
    media[there] = _number(data, behind[there], 2)
    for kind in np.unique(media[there]).tolist():
        link = kind & 0xFFF if PCAP_LINKS <= kind < PSEUDO_FRAMES else _link(kind)
        index["link"][there & (media == kind)] = link
    if file.version >= (2, 3):
        timed = there & (behind + 14 <= len(data))
        ticks = _number(data, behind[timed] + 6, 8)
        believed = (ticks > FILETIME_EPOCH) & (ticks < 2 * FILETIME_EPOCH)
        index["ts"][timed] = np.where(believed, (ticks - FILETIME_EPOCH) * 100, index["ts"][timed])
    return index[media < PSEUDO_FRAMES]
