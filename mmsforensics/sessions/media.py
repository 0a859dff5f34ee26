"""One medium of a session: its header put together, its packets counted and laid into the file."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.asf import Header, parse_header
from mmsforensics.protocols import DataPackets
from mmsforensics.protocols.messages import DATA_PACKET
from mmsforensics.sessions.medium import MediumBlock, bare_block, media_rows, origins, packet_block
from mmsforensics.sessions.model import MediumKind, MediumSummary, MediumWriter, Recorder
from mmsforensics.streams import PIECE

ASF_HEADER_GUID = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")

DATA_OBJECT_HEAD = 50
"""A streamed header ends with the first 50 bytes of the Data Object [MS-MMSP 2.2.2]."""

MAX_HEADER = 16 << 20
"""Bytes of a header that are put together; larger ones are hostile."""

REORDER_WINDOW = 120
"""Sequence numbers below it may belong to a session that began with 0 and whose first datagrams come late."""

RESEND_WINDOW = 4096
"""Datagrams held back behind a missing one: some minutes of a stream, longer than any client asks again."""


class HeaderParts:
    """Puts the fragments of an ASF file header together, in whatever order they arrive."""

    __slots__ = ("_fragments", "_incarnation", "_last", "data", "done", "pieces")

    def __init__(self) -> None:
        self._fragments: dict[int, tuple[NDArray[np.uint8], NDArray[np.void]]] = {}
        self._incarnation = -1
        self._last = -1  # LocationId of the last fragment, once it is known
        self.data = b""
        self.pieces = np.empty(0, dtype=PIECE)  # offsets count from the start of the header
        self.done = False

    @property
    def started(self) -> bool:
        """Whether any fragment is there."""
        return bool(self._fragments)

    def add(self, packet: np.void, block: DataPackets, *, expected: bool) -> bool:
        """Take one Data packet. Returns False when it can't be a part of the header.

        A fragment is the last when AFFlags has 0x08 [MS-MMSP 3.1.5.12], or when the Header Object's own
        size is reached. `expected` says that the control messages announced the packet as a fragment;
        otherwise only a packet that begins with the Header Object begins a header.
        """
        payload = payload_of(packet, block)
        location = int(packet["location"])
        first = bytes(payload[:16]) == ASF_HEADER_GUID
        if location == 0 and not first:
            return False
        if location > 0 and not (expected or int(packet["incarnation"]) == self._incarnation):
            return False
        if location in self._fragments:
            return True  # sent again
        if sum(len(f[0]) for f in self._fragments.values()) + len(payload) > MAX_HEADER:
            return False
        self._incarnation = int(packet["incarnation"])
        self._fragments[location] = (payload.copy(), payload_pieces(packet, block))
        if int(packet["flags"]) & 0x08:
            self._last = location
        self._assemble()
        return True

    def _assemble(self) -> None:
        parts: list[tuple[NDArray[np.uint8], NDArray[np.void]]] = []
        size = 0
        while (fragment := self._fragments.get(len(parts))) is not None:
            where = fragment[1].copy()
            where["offset"] += size
            parts.append((fragment[0], where))
            size += len(fragment[0])
        if not parts:
            return
        data = b"".join(p[0].tobytes() for p in parts)
        whole = len(data) >= 24 and len(data) >= int.from_bytes(data[16:24], "little") + DATA_OBJECT_HEAD
        if whole or len(parts) == self._last + 1:
            self.data = data
            self.pieces = np.concatenate([p[1] for p in parts])
            self.done = True


def payload_of(packet: np.void, block: DataPackets) -> NDArray[np.uint8]:
    """The payload of one Data packet of a block."""
    start = int(packet["start"])
    return block.data[start : start + int(packet["size"])]


def payload_pieces(packet: np.void, block: DataPackets) -> NDArray[np.void]:
    """Pieces of one payload, with offsets counted from its start."""
    start = int(packet["start"]) + block.base
    end = start + int(packet["size"])
    pieces = block.pieces
    part: NDArray[np.void] = pieces[
        (pieces["offset"] < end) & (pieces["offset"] + pieces["length"].astype("i8") > start)
    ].copy()
    lead = np.maximum(start - part["offset"], 0)
    part["offset"] += lead
    part["frame_offset"] += lead.astype("u4")
    part["length"] -= lead.astype("u4")
    over = np.maximum(part["offset"] + part["length"].astype("i8") - end, 0)
    part["length"] -= over.astype("u4")
    part["offset"] -= start
    return part


@njit(cache=True, nogil=True)
def count_missing(flags, location, state):
    """Count the packets that the 8-bit sequence numbers show to be missing.

    `state` holds [last sequence or -1, last location, steps of one, steps of zero] and is brought up to
    date. A server that does not count (all AFFlags alike) shows nothing. Where more than 255 are missing, the
    LocationIds tell how often the sequence wrapped.
    """
    missing = 0
    for i in range(len(flags)):
        sequence = np.int64(flags[i])
        here = np.int64(location[i])
        if state[0] == -2 and here == sequence:
            missing += here  # the sequence of a session begins with 0 [MS-MMSP 2.2.2]
        if state[0] >= 0:
            step = (sequence - state[0]) % 256
            if step == 1:
                state[2] += 1
            elif step == 0 and here == state[1] + 1:
                state[3] += 1
            elif step != 0 and state[3] == 0 and not (state[0] == 0xFE and sequence == 0):
                lost = step - 1
                ahead = here - state[1] - 1
                while lost + 256 <= ahead and ahead < 1 << 24:
                    lost += 256
                missing += lost
        state[0], state[1] = sequence, here
    return missing


class Medium:
    """The faithful file of one content, as it is recovered; without a header, its packets alone."""

    __slots__ = (
        "_counting",
        "_file_size",
        "_last",
        "_next_sequence",
        "_open_hole",
        "_recorder",
        "_session",
        "_waiting",
        "_writer",
        "bytes",
        "header",
        "header_bytes",
        "header_pieces",
        "hurt",
        "hurt_since",
        "missing",
        "name",
        "packet_size",
        "packets",
        "rejected",
    )

    def __init__(
        self,
        recorder: Recorder,
        session: int,
        parts: HeaderParts,
        name: str,
        packet_size: int = 0,
    ) -> None:
        self._recorder = recorder
        self._session = session
        self.name = name
        self.header_bytes = parts.data
        self.header_pieces = parts.pieces
        self.header: Header = parse_header(self.header_bytes)
        self.packet_size = self.header.packet_size or packet_size
        self.packets = 0
        self.missing = 0
        self.hurt = 0
        self.hurt_since = 0
        self._open_hole = False
        self.rejected = 0
        self.bytes = 0
        self._file_size = 0
        self._writer: MediumWriter | None = None
        self._counting = np.array([-1, -1, 0, 0], dtype=np.int64)
        self._waiting: dict[int, tuple[np.void, DataPackets]] = {}  # by sequence
        self._next_sequence = -1
        self._last = (-1, -1, -1)  # highest sequence seen, with its LocationId and incarnation

    @property
    def bare(self) -> bool:
        """Whether no header was captured: the packets are kept as they were on the wire."""
        return not self.header_bytes

    def hole(self, packets_cut: int) -> None:
        """Take note of a hole in the stream and of the packets that it is known to hurt."""
        self._open_hole = True
        self.hurt_since += packets_cut
        if packets_cut and self._counting[0] < 0:
            self._counting[0], self._counting[1] = -2, -1  # the first packet's sequence tells how many

    @property
    def packets_missing(self) -> int:
        """Packets known to be missing: by the sequence numbers, and behind the last packet by the holes.

        A server whose AFFlags do not count leaves only the holes, and the LocationIds on both sides of them.
        """
        counted = self.hurt if self._counting[3] or not self._counting[2] else self.missing
        return counted + self.hurt_since

    def add(self, block: DataPackets) -> None:
        """Append media packets in the order of sending."""
        if block.reliable:
            self._append(block.packets, block)
        else:
            self._reorder(block)

    def _append(self, packets: NDArray[np.void], block: DataPackets) -> None:
        fitting = packets["size"] <= self.packet_size
        if not self.bare and not fitting.all():
            self.rejected += int(np.count_nonzero(~fitting))
            packets = packets[fitting]
        if not len(packets):
            return
        writer = self._open()
        where = block.data, block.base, block.pieces
        if self.bare:
            laid = bare_block(packets, *where, self._file_size)
        else:
            laid = packet_block(packets, *where, self.packet_size, self._file_size)
        writer.write(laid)
        self._file_size += len(laid.data)
        self.packets += len(packets)
        self.bytes += int(packets["size"].sum())
        self._close_hole(int(packets["location"][0]))
        self.missing += int(
            count_missing(
                np.ascontiguousarray(packets["flags"]),
                np.ascontiguousarray(packets["location"]),
                self._counting,
            )
        )

    def _close_hole(self, location: int) -> None:
        """Settle what the holes before a packet cost; elsewhere a server may just leave packets out."""
        last = int(self._counting[1])
        left_out = location - last - 1 if self._open_hole and last >= 0 else 0
        self.hurt += max(self.hurt_since, left_out if left_out < 1 << 24 else 0)
        self.hurt_since = 0
        self._open_hole = False

    def _open(self) -> MediumWriter:
        """Begin the file with its first media packet: a header alone is none yet."""
        if self._writer is None:
            self._writer = self._begin("packets" if self.bare else "faithful")
        return self._writer

    def _begin(self, kind: MediumKind) -> MediumWriter:
        writer = self._recorder.open_medium(self._session, self.header_bytes, self.name, kind)
        if not self.bare:
            data = np.frombuffer(self.header_bytes, dtype=np.uint8)
            starts = np.ascontiguousarray(self.header_pieces["offset"][:1])
            provenance = origins(
                starts, np.array([len(data)], dtype=np.int64), len(data), 0, self.header_pieces
            )
            writer.write(MediumBlock(data, media_rows(np.empty(0, dtype=DATA_PACKET)), provenance))
            self._file_size = len(data)
        return writer

    def keep_header(self) -> None:
        """Record the header alone: the session ends, and no packet of the medium was captured."""
        writer = self._begin("header")
        writer.close(MediumSummary(packets=0, packets_missing=0, complete=False, ended=False))

    def _reorder(self, block: DataPackets) -> None:
        """Put datagrams in order of their sequence; a resent one fills its place, a repeated one goes."""
        packets = block.packets
        flags = packets["flags"].astype(np.int64)
        if self._next_sequence < 0:
            # A session begins with 0 [MS-MMSP 2.2.2]; the first to arrive need not be the first sent.
            self._next_sequence = 0 if flags[0] < REORDER_WINDOW else int(flags[0])
        in_step = (flags - self._next_sequence) % 256 == np.arange(len(flags)) % 256
        steady = (packets["incarnation"] == self._last[2]).all() and (np.diff(packets["location"]) > 0).all()
        if not self._waiting and in_step.all() and steady and packets["location"][0] > self._last[1]:
            self._next_sequence += len(packets)
            self._remember(packets[-1], self._next_sequence - 1)
            self._append(packets, block)
            return
        for packet in packets:
            sequence = self._sequence(packet)
            if sequence >= self._next_sequence:
                self._waiting.setdefault(sequence, (packet, block))
            if sequence > self._last[0]:
                self._remember(packet, sequence)
            self._flush_ready()
            if len(self._waiting) > RESEND_WINDOW:
                self._next_sequence = min(self._waiting)
                self._flush_ready()

    def _remember(self, packet: np.void, sequence: int) -> None:
        self._last = (sequence, int(packet["location"]), int(packet["incarnation"]))

    def _sequence(self, packet: np.void) -> int:
        """The whole sequence number of which AFFlags are the low 8 bits.

        Between packets of one play the LocationId tells how often it has wrapped: it grows by one a packet at
        least, and by more only where the server left packets out.
        """
        flags = int(packet["flags"])
        last, location, incarnation = self._last
        if last < 0 or int(packet["incarnation"]) != incarnation:
            if self._next_sequence % 256 == 0xFF and flags == 0:
                self._next_sequence += 1  # 0xFF is left out before a new play [MS-MMSP 2.2.2]
            return self._next_sequence + (flags - self._next_sequence + 128) % 256 - 128
        ahead = int(packet["location"]) - location
        predicted = last + ahead
        if ahead > 0:
            return max(predicted - (predicted - flags) % 256, last + (flags - last) % 256)
        return predicted + (flags - predicted) % 256

    def _flush_ready(self) -> None:
        ready: list[tuple[np.void, DataPackets]] = []
        while self._next_sequence in self._waiting:
            ready.append(self._waiting.pop(self._next_sequence))
            self._next_sequence += 1
        self._write(ready)

    def _write(self, ready: list[tuple[np.void, DataPackets]]) -> None:
        first = 0
        for i in range(1, len(ready) + 1):
            if i == len(ready) or ready[i][1] is not ready[first][1]:
                packets = np.array([packet for packet, _ in ready[first:i]], dtype=DATA_PACKET)
                self._append(packets, ready[first][1])
                first = i

    def close(self, *, ended: bool) -> None:
        """Finish the medium; `ended` when the server said that it had sent everything."""
        self._write([self._waiting[sequence] for sequence in sorted(self._waiting)])
        self._waiting.clear()
        if self._writer is None:
            return
        missing = self.packets_missing
        self._writer.close(
            MediumSummary(
                packets=self.packets,
                packets_missing=missing,
                complete=ended
                and not self.bare
                and missing == 0
                and self.rejected == 0
                and not self._open_hole,
                ended=ended,
            )
        )
        self._writer = None
