"""The pcapng file format [draft-ietf-opsawg-pcapng]: sections, interfaces and block walk.

Rules of this file:

* a section header sets the byte order of what follows, and begins a new list of interfaces;
* section headers, interface descriptions and statistics are rare: Python reads them; packet blocks are
  walked by compiled code, which passes over every other block;
* a block that is sound in itself but holds nonsense costs itself alone; where the two lengths that each block
  says disagree, it is not known where the next one begins;
* what the file says of itself is kept as notes, bounded in number and length.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.evidence.compiled import Bytes, Int, Row, u16, u32
from mmsforensics.evidence.formats import SHB_MAGIC
from mmsforensics.evidence.problem import Problem

BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D

KNOWN_VERSION: Final = "pcapng version 1"
"""What a section header is expected to say."""

SHB: Final = 0x0A0D0D0A
IDB: Final = 1
PB: Final = 2
SPB: Final = 3
NRB: Final = 4
ISB: Final = 5
EPB: Final = 6
JOURNAL: Final = 9
DSB: Final = 10
CUSTOM: Final = 0xBAD
CUSTOM_NOT_COPIED: Final = 0x40000BAD
"""Block types [sections 4.1 to 4.8, A]: section header, interface description, packet (obsolete), simple
packet, name resolution, interface statistics, enhanced packet, systemd journal, decryption secrets,
custom."""

TALLIES: Final = ("name resolution", "systemd journal", "decryption secrets", "custom", "unknown")
"""Kinds of blocks whose contents are not kept, in the order in which they are counted."""

NUMBERED_BY_WIRESHARK: Final = ("systemd journal", "custom")
"""Those that Wireshark lists among the packets, so that its numbers of frames behind them are higher."""

BLOCK_MINIMUM: Final = 12
"""Type and twice the length [section 3.1]."""

MINIMUM: Final = {SHB: 28, IDB: 20, PB: 32, SPB: 16, ISB: 24, EPB: 32}
"""Smallest sound total length of the blocks that are read."""

EPB_MINIMUM: Final = MINIMUM[EPB]
SPB_MINIMUM: Final = MINIMUM[SPB]

PACKET_HEADER: Final = 28
"""Offset of the packet data in an enhanced and in an obsolete packet block."""

SIMPLE_HEADER: Final = 12
"""Offset of the packet data in a simple packet block."""

OPT_ENDOFOPT: Final = 0
OPT_COMMENT: Final = 1
SECTION_OPTIONS: Final = {2: "hardware", 3: "operating system", 4: "written by"}
INTERFACE_OPTIONS: Final = {2: "name", 3: "description", 11: "filter", 12: "operating system", 15: "hardware"}
STATISTICS_OPTIONS: Final = {
    4: "received",
    5: "dropped by the interface",
    6: "accepted by the filter",
    7: "dropped by the operating system",
    8: "delivered",
}
"""Options that become notes [sections 4.1, 4.2, 4.6], and what the notes call them."""

IF_FILTER: Final = 11
"""Its value begins with a byte that says how the filter is written: 0 as text."""

MAX_NOTES: Final = 1000
MAX_NOTE: Final = 2000
"""Notes of a file, and characters of each, that are kept."""

UNKNOWN_LINK: Final = 0xFFFF
"""Link type of an interface whose description cannot be read; it still has its number."""

IF_TSRESOL: Final = 9
IF_TSOFFSET: Final = 14
"""Options that say how time is written [section 4.2]."""

TSRESOL_DEFAULT: Final = 6
"""Microseconds [section 4.2, if_tsresol]."""

NO_TIME: Final = int(np.iinfo(np.int64).min)
"""Time stamp of a packet that has none, or one outside of what 64 bits of nanoseconds hold."""

OFFSET_LIMIT: Final = 4_000_000_000
"""Largest if_tsoffset in seconds that nanoseconds in 64 bits can follow with room for the time itself."""

OK: Final = 0
OTHER_BLOCK: Final = 1
CONTROL: Final = 2
CUT_HEADER: Final = 20
CUT_BLOCK: Final = 21
IMPOSSIBLE_LENGTH: Final = 22
LENGTHS_DISAGREE: Final = 23
UNKNOWN_INTERFACE: Final = 24
CAPTURED_BEYOND_BLOCK: Final = 25
BLOCK_TOO_SHORT: Final = 26
"""What the walk says about the block at a position: a packet, another block, one for Python, or damage."""

INTERFACE = np.dtype(
    [
        ("offset", "i8"),  # if_tsoffset in ns; NO_TIME if no time of this interface can be told
        ("multiply", "i8"),  # ns = ticks * multiply // divide, for decimal resolutions
        ("divide", "i8"),  # 0: every time is below one ns
        ("snaplen", "i8"),  # bytes kept of each packet, 0 for all
        ("shift", "i4"),  # >= 0: ticks of 2**-shift s
        ("link", "i4"),  # DLT
    ],
    align=True,
)
"""An interface of a section, as the compiled walk needs it."""


@dataclass(slots=True)
class Section:
    """Where the walk stands: byte order and interfaces of the section it is in."""

    big: bool = False
    count: int = 0
    """Interfaces described so far."""
    interfaces: NDArray[np.void] = field(default_factory=lambda: np.zeros(4, INTERFACE))
    """Dtype `INTERFACE`; the first `count` are valid."""
    number: int = 0
    """Of the section in the file, from 1."""
    notes: list[str] = field(default_factory=list)
    """What the file says of itself."""
    statistics: dict[tuple[int, int], str] = field(default_factory=dict)
    """The last statistics of each section's interfaces."""

    def add(self, interface: NDArray[np.void]) -> None:
        """Append one interface description."""
        if self.count == len(self.interfaces):
            grown = np.zeros(2 * self.count, INTERFACE)
            grown[: self.count] = self.interfaces
            self.interfaces = grown
        self.interfaces[self.count] = interface
        self.count += 1

    def note(self, text: str) -> None:
        """Keep a note, if there is room."""
        if len(self.notes) < MAX_NOTES:
            self.notes.append(text if len(text) <= MAX_NOTE else text[:MAX_NOTE] + "…")


def read_control(path: str, data: Bytes, pos: int, section: Section) -> int | Problem:
    """Read the section header, interface description or statistics at `pos` into `section`.

    Returns
    -------
    int or Problem
        Offset behind the block. A problem says which bytes it cost if it is known where the next block is.
    """
    if data[pos : pos + 4].tobytes() == SHB_MAGIC:
        return _read_section(path, data, pos, section)
    if _number(data, pos, 4, section.big) == ISB:
        return _read_statistics(path, data, pos, section)
    return _read_interface(path, data, pos, section)


def _read_section(path: str, data: Bytes, pos: int, section: Section) -> int | Problem:
    """Read a section header block [section 4.1]."""
    left = len(data) - pos
    if left < MINIMUM[SHB]:
        found = f"the end of the file after {left}"
        return Problem(path, pos, None, f"a section header of {MINIMUM[SHB]} bytes", found)
    magic = data[pos + 8 : pos + 12].tobytes()
    section.big = magic[0] == BYTE_ORDER_MAGIC >> 24
    section.count = 0
    if _number(data, pos + 8, 4, section.big) != BYTE_ORDER_MAGIC:
        return Problem(path, pos + 8, None, f"byte-order magic {BYTE_ORDER_MAGIC:#x}", magic.hex(" "))
    major = _number(data, pos + 12, 2, section.big)
    if major != 1:
        return Problem(path, pos + 12, None, KNOWN_VERSION, f"version {major}")
    total = _number(data, pos + 4, 4, section.big)
    code = OK
    if total < MINIMUM[SHB] or total % 4:
        code = IMPOSSIBLE_LENGTH
    elif total > left:
        code = CUT_BLOCK
    elif _number(data, pos + total - 4, 4, section.big) != total:
        code = LENGTHS_DISAGREE
    if code != OK:
        return explain(path, data, pos, None, code, section)
    section.number += 1
    _note_section(data[pos + 24 : pos + total - 4].tobytes(), section)
    return pos + total


def _note_section(raw: bytes, section: Section) -> None:
    options = _options(raw, ">" if section.big else "<")
    said = [f"{SECTION_OPTIONS[code]} {_words(value)}" for code, value in options if code in SECTION_OPTIONS]
    if said:
        section.note(f"section {section.number}: {', '.join(said)}")
    for code, value in options:
        if code == OPT_COMMENT:
            section.note(f"section {section.number}: comment: {_words(value)}")


def _number(data: Bytes, at: int, size: int, big: bool) -> int:
    """Read an integer without the compiled functions, whose loading would cost more."""
    return int.from_bytes(data[at : at + size].tobytes(), "big" if big else "little")


def _read_interface(path: str, data: Bytes, pos: int, section: Section) -> int | Problem:
    """Read an interface description block [section 4.2], which `check_block` found whole."""
    order = ">" if section.big else "<"
    total = _number(data, pos + 4, 4, section.big)
    body = data[pos + 8 : pos + total - 4].tobytes()
    if total < MINIMUM[IDB]:
        section.add(interface_row(UNKNOWN_LINK, 0, TSRESOL_DEFAULT, 0))
        expected = f"an interface description of {MINIMUM[IDB]} bytes or more"
        return Problem(path, pos + 4, None, expected, f"{total} bytes", (pos, pos + total))
    link, _, snaplen = struct.unpack_from(order + "HHI", body)
    options = _options(body[8:], order)
    resolution, seconds = TSRESOL_DEFAULT, 0
    for code, value in options:
        if code == IF_TSRESOL and len(value) == 1:
            resolution = value[0]
        elif code == IF_TSOFFSET and len(value) == 8:
            (seconds,) = struct.unpack(order + "q", value)
    _note_interface(options, snaplen, section)
    section.add(interface_row(link, snaplen, resolution, seconds))
    return pos + total


def _note_interface(options: list[tuple[int, bytes]], snaplen: int, section: Section) -> None:
    name = f"section {section.number}, interface {section.count}"
    said = []
    for code, value in options:
        if code in INTERFACE_OPTIONS:
            text = _words(value[1:] if code == IF_FILTER and value[:1] == b"\0" else value)
            said.append(f"{INTERFACE_OPTIONS[code]} {text}")
    if said:
        section.note(f"{name}: {', '.join(said)}" + (f", snapshot length {snaplen}" if snaplen else ""))
    for code, value in options:
        if code == OPT_COMMENT:
            section.note(f"{name}: comment: {_words(value)}")


def _read_statistics(path: str, data: Bytes, pos: int, section: Section) -> int | Problem:
    """Read an interface statistics block [section 4.6], which `check_block` found whole."""
    order = ">" if section.big else "<"
    total = _number(data, pos + 4, 4, section.big)
    if total < MINIMUM[ISB]:
        expected = f"interface statistics of {MINIMUM[ISB]} bytes or more"
        return Problem(path, pos + 4, None, expected, f"{total} bytes", (pos, pos + total))
    interface = _number(data, pos + 8, 4, section.big)
    said = [
        f"{int.from_bytes(value, 'big' if section.big else 'little')} {STATISTICS_OPTIONS[code]}"
        for code, value in _options(data[pos + 20 : pos + total - 4].tobytes(), order)
        if code in STATISTICS_OPTIONS and len(value) == 8
    ]
    if said and len(section.statistics) < MAX_NOTES:
        text = f"section {section.number}, interface {interface}: frames {', '.join(said)}"
        section.statistics[section.number, interface] = text
    return pos + total


def _options(raw: bytes, order: str) -> list[tuple[int, bytes]]:
    """Options [section 3.5]; a list that is cut, or has no end, ends where the block does."""
    options, at = [], 0
    while at + 4 <= len(raw):
        code, length = struct.unpack_from(order + "HH", raw, at)
        if code == OPT_ENDOFOPT:
            break
        options.append((code, raw[at + 4 : at + 4 + length]))
        at += 4 + (length + 3) // 4 * 4
    return options


def _words(value: bytes) -> str:
    """The text of an option; some writers end it with a zero."""
    return value.rstrip(b"\0").decode("utf-8", "replace")


def packet_comments(data: Bytes, pos: int, section: Section) -> list[str]:
    """Comments of the packet block at `pos`, which the walk has found sound."""
    captured, total = (_number(data, pos + k, 4, section.big) for k in (20, 4))
    start = pos + PACKET_HEADER + (captured + 3) // 4 * 4
    options = _options(data[start : pos + total - 4].tobytes(), ">" if section.big else "<")
    return [_words(value) for code, value in options if code == OPT_COMMENT]


def tally_note(tallies: NDArray[np.int64]) -> str | None:
    """Say which blocks were passed over."""
    counted = dict(zip(TALLIES, tallies[:-1].tolist(), strict=True))
    said = [f"{n} {kind}" for kind, n in counted.items() if n]
    shown = sum(counted[kind] for kind in NUMBERED_BY_WIRESHARK)
    also = f"; Wireshark gives {shown} of them numbers of frames, which are not counted here" if shown else ""
    return f"blocks whose contents are not kept: {', '.join(said)}{also}" if said else None


def interface_row(link: int, snaplen: int, resolution: int, seconds: int) -> NDArray[np.void]:
    """Build an `INTERFACE` from the fields of its description.

    Parameters
    ----------
    link, snaplen : int
        Link type and snapshot length.
    resolution : int
        if_tsresol: a power of ten, or of two if the highest bit is set, negated [section 4.2].
    seconds : int
        if_tsoffset, in s.
    """
    row = np.zeros((), INTERFACE)
    row["link"], row["snaplen"], row["shift"] = link, snaplen, -1
    row["multiply"] = row["divide"] = 1
    row["offset"] = seconds * 1_000_000_000 if abs(seconds) <= OFFSET_LIMIT else NO_TIME
    exponent = resolution & 0x7F
    if resolution & 0x80:
        row["shift"] = exponent
    elif exponent <= 9:
        row["multiply"] = 10 ** (9 - exponent)
    else:
        row["divide"] = 10 ** (exponent - 9) if exponent <= 27 else 0
    return row


@njit(nogil=True)
def check_lengths(data: Bytes, pos: Int, big: Int) -> Int:
    """Whether the block at `pos` lies whole in the file with sound lengths: `OK` or a code of damage."""
    left = len(data) - pos
    if left < BLOCK_MINIMUM:
        return CUT_HEADER
    total = u32(data, pos + 4, big)
    if total < BLOCK_MINIMUM or total & 3:
        return IMPOSSIBLE_LENGTH
    if total > left:
        return CUT_BLOCK
    if u32(data, pos + total - 4, big) != total:
        return LENGTHS_DISAGREE
    return OK


@njit(nogil=True)
def check_block(data: Bytes, pos: Int, big: Int) -> Int:
    """Tell what stands at `pos`: `OK` for a packet block, `OTHER_BLOCK`, `CONTROL`, or a code of damage."""
    if len(data) - pos < BLOCK_MINIMUM:
        return CUT_HEADER
    kind = u32(data, pos, big)
    if kind == SHB:
        return CONTROL  # its lengths stand in its own byte order, which Python finds out
    code = check_lengths(data, pos, big)
    if code != OK:
        return code
    total = u32(data, pos + 4, big)
    if kind in (IDB, ISB):
        return CONTROL
    if kind in (EPB, PB):
        return OK if total >= EPB_MINIMUM else BLOCK_TOO_SHORT
    if kind == SPB:
        return OK if total >= SPB_MINIMUM else BLOCK_TOO_SHORT
    return OTHER_BLOCK


@njit(nogil=True)
def block_tally(kind: Int) -> Int:
    """Where in `TALLIES` a block is counted that is passed over."""
    if kind == NRB:
        return 0
    if kind == JOURNAL:
        return 1
    if kind == DSB:
        return 2
    return 3 if kind in (CUSTOM, CUSTOM_NOT_COPIED) else 4


@njit(nogil=True)
def has_comment(data: Bytes, pos: Int, big: Int, end: Int) -> Int:
    """Whether the packet block at `pos`, whose data end at `end`, has a comment among its options."""
    at = end + (-(end - pos) & 3)
    stop = pos + u32(data, pos + 4, big) - 4
    if at >= stop or u32(data, pos, big) == SPB:
        return False
    while at + 4 <= stop:
        code = u16(data, at, big)
        if code == OPT_COMMENT:
            return True
        if code == OPT_ENDOFOPT:
            return False
        at += 4 + ((u16(data, at + 2, big) + 3) & ~3)
    return False


@njit(nogil=True)
def packet_fields(data: Bytes, pos: Int, big: Int, interfaces: NDArray[np.void], count: Int) -> Int:
    """Fields of the packet block at `pos`, which `check_block` found whole.

    Returns
    -------
    code, interface, start, captured, wire
        `OK` or damage, index of the interface, offset of the packet data in the file, and its lengths.
    """
    kind = u32(data, pos, big)
    total = u32(data, pos + 4, big)
    if kind == SPB:
        wire = u32(data, pos + 8, big)
        captured = min(wire, total - SIMPLE_HEADER - 4)
        if count == 0:
            return UNKNOWN_INTERFACE, 0, 0, 0, 0
        snaplen = interfaces[0]["snaplen"]
        if snaplen > 0:
            captured = min(captured, snaplen)
        return OK, 0, pos + SIMPLE_HEADER, captured, wire
    interface = u16(data, pos + 8, big) if kind == PB else u32(data, pos + 8, big)
    captured = u32(data, pos + 20, big)
    wire = u32(data, pos + 24, big)
    if interface >= count:
        return UNKNOWN_INTERFACE, interface, 0, 0, 0
    if captured > total - PACKET_HEADER - 4:
        return CAPTURED_BEYOND_BLOCK, interface, 0, 0, 0
    return OK, interface, pos + PACKET_HEADER, captured, wire


@njit(nogil=True)
def packet_time(data: Bytes, pos: Int, big: Int, interface: Row) -> Int:
    """Time stamp in ns since 1970 of the packet block at `pos`, `NO_TIME` if it has none [section 4.3]."""
    if u32(data, pos, big) == SPB or interface["offset"] == NO_TIME:
        return NO_TIME
    high = u32(data, pos + 12, big)
    low = u32(data, pos + 16, big)
    ticks = (np.uint64(high) << np.uint64(32)) | np.uint64(low)
    shift = interface["shift"]
    largest = np.uint64(0x7FFFFFFFFFFFFFFF)
    if shift >= 0:
        time = _binary_time(ticks, shift)
    elif interface["divide"] == 0:
        time = np.uint64(0)
    elif interface["divide"] > 1:
        time = ticks // np.uint64(interface["divide"])
    elif ticks > largest // np.uint64(interface["multiply"]):
        return NO_TIME
    else:
        time = ticks * np.uint64(interface["multiply"])
    offset = interface["offset"]
    if time > largest or (offset > 0 and np.int64(time) > np.int64(0x7FFFFFFFFFFFFFFF) - offset):
        return NO_TIME
    return np.int64(time) + offset


@njit(nogil=True)
def _binary_time(ticks: Int, shift: Int) -> Int:
    """Nanoseconds of `ticks` of 2**-shift s; all ones if they do not fit."""
    billion = np.uint64(1_000_000_000)
    if shift > 63:
        seconds = np.uint64(0)
        spare = min(shift - 34, 63)
        fraction = ticks
    else:
        seconds = ticks >> np.uint64(shift)
        fraction = ticks & ((np.uint64(1) << np.uint64(shift)) - np.uint64(1))
        spare = max(shift - 34, 0)
    # 34 bits of fraction are finer than a nanosecond, and their product fits 64 bits.
    bits = min(shift, 34)
    nanoseconds = ((fraction >> np.uint64(spare)) * billion) >> np.uint64(bits)
    if seconds > np.uint64(9_000_000_000):
        return np.uint64(0xFFFFFFFFFFFFFFFF)
    return seconds * billion + nanoseconds


def explain(path: str, data: Bytes, pos: int, frame: int | None, code: int, section: Section) -> Problem:
    """Put into words what the walk said about the block at `pos`."""
    end = f"the end of the file after {len(data) - pos}"
    if code == CUT_HEADER:
        return Problem(path, pos, frame, f"a block of {BLOCK_MINIMUM} bytes or more", end)
    kind = _number(data, pos, 4, section.big)
    total = _number(data, pos + 4, 4, section.big)
    if code == CUT_BLOCK:
        return Problem(path, pos, frame, f"a block (type {kind:#x}) of {total} bytes", end)
    alone = (pos, pos + total)
    if code == BLOCK_TOO_SHORT:
        expected = f"a packet block (type {kind:#x}) of {MINIMUM[kind]} bytes or more"
        return Problem(path, pos + 4, frame, expected, f"{total} bytes", alone)
    if code == IMPOSSIBLE_LENGTH:
        least = MINIMUM.get(kind, BLOCK_MINIMUM)
        expected = f"a block total length (type {kind:#x}) of at least {least} and a multiple of 4"
        return Problem(path, pos + 4, frame, expected, f"{total} ({total:#x}), which is impossible")
    if code == LENGTHS_DISAGREE:
        trailing = _number(data, pos + total - 4, 4, section.big)
        expected = f"the block total length {total} again at the end of the block"
        return Problem(path, pos + total - 4, frame, expected, str(trailing))
    if code == UNKNOWN_INTERFACE:
        interface = 0
        if kind != SPB:
            interface = _number(data, pos + 8, 2 if kind == PB else 4, section.big)
        expected = f"one of the {section.count} interfaces described before"
        return Problem(path, pos + 8, frame, expected, f"a packet of interface {interface}", alone)
    captured = _number(data, pos + 20, 4, section.big)
    room = total - PACKET_HEADER - 4
    expected = f"a captured length of at most {room}, the room in the block"
    return Problem(path, pos + 20, frame, expected, str(captured), alone)
