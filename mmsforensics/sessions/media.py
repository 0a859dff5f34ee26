"""One medium of a session: its header put together, its packets counted and laid into the file."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.asf import Header, parse_header, salvage
from mmsforensics.protocols import CutPacket, DataPackets, Hole, Malformed
from mmsforensics.protocols.messages import DATA_PACKET, UNKNOWN_LOCATION
from mmsforensics.sessions.loss import UNKNOWN, LossMap, LossReason, run, runs
from mmsforensics.sessions.medium import (
    PROVENANCE,
    MediumBlock,
    Origin,
    bare_block,
    media_rows,
    origins,
    packet_block,
    restored_block,
    salvaged_block,
)
from mmsforensics.sessions.model import MediumKind, MediumSummary, MediumWriter, Recorder
from mmsforensics.sessions.msb_order import RestoredPacket
from mmsforensics.sessions.push import NOT_COUNTED
from mmsforensics.sessions.resends import Resends
from mmsforensics.sessions.verdict import HEADER_ONLY, REASONS, Reason, hole_reasons, hurt_reasons, verdict
from mmsforensics.streams import PIECE

ASF_HEADER_GUID = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")

DATA_OBJECT_HEAD = 50
"""A streamed header ends with the first 50 bytes of the Data Object [MS-MMSP 2.2.2]."""

OBJECT_FRAME = 24
"""Bytes of an object's GUID and size [ASF 2.2]."""

MAX_HEADER = 16 << 20
"""Bytes of a header that are put together; larger ones are hostile."""

REORDER_WINDOW = 120
"""Sequence numbers below it may belong to a session that began with 0 and whose first datagrams come late."""

MAX_FRAGMENTS = 1 << 16
"""Fragments of a header that are kept, as many as a header of the largest size in packets of 256 bytes has:
each costs far more memory than it has bytes, which may be none."""

RESEND_WINDOW = 4096
"""Datagrams held back behind a missing one: some minutes of a stream, longer than any client asks again."""

SETTLING = 128
"""Datagrams behind a new play whose sequence numbers are taken for the nearest ones: packets of the play
before may come among them, and LocationIds jump."""

LAID_AT_ONCE = 32 << 20
"""Bytes of packets, padded, that are laid into the file at once."""

SALVAGED_WAITING = 256
"""Hurt packets kept until the first whole one opens the file."""

NO_RUNS = np.empty((0, 4), dtype=np.int64)

BEGUN, SPARSE = 1, 2
"""Bits: a play begins, the next LocationId may be any; its play leaves out any number of them."""


class HeaderParts:
    """Puts the fragments of an ASF file header together, in whatever order they arrive."""

    __slots__ = (
        "_following",
        "_fragments",
        "_head",
        "_held",
        "_incarnation",
        "_last",
        "_size",
        "data",
        "done",
        "origins",
        "pieces",
        "source",
    )

    def __init__(self) -> None:
        self._fragments: dict[int, tuple[NDArray[np.uint8], NDArray[np.void]]] = {}
        self._held = 0  # bytes of all of them
        self._following = 0  # fragments that follow each other from the first one on
        self._size = 0  # bytes of these
        self._head = b""  # the first of these bytes: the GUID and size of the Header Object
        self._incarnation = -1
        self._last = -1  # LocationId of the last fragment, once it is known
        self.data = b""
        self.pieces = np.empty(0, dtype=PIECE)  # offsets count from the start of the header
        self.origins: NDArray[np.void] | None = None
        """Dtype PROVENANCE, of a header that came as text; else `pieces` tell."""
        self.done = False
        self.source = ""  # what else than the stream it came with

    @classmethod
    def given(cls, header: bytes, source: str) -> HeaderParts:
        """A header that a document gave, whole."""
        parts = cls()
        parts.data, parts.source, parts.done = header, source, True
        return parts

    @classmethod
    def of_text(cls, data: bytes, origins: NDArray[np.void]) -> HeaderParts:
        """A whole header that came as text: in a session description, in a station file."""
        parts = cls()
        parts.data, parts.origins, parts.done = data, origins, True
        return parts

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
        if self._held + len(payload) > MAX_HEADER or len(self._fragments) >= MAX_FRAGMENTS:
            return False
        self._held += len(payload)
        self._incarnation = int(packet["incarnation"])
        self._fragments[location] = (payload.copy(), payload_pieces(packet, block))
        if int(packet["flags"]) & 0x08:
            self._last = location
        self._follow()
        whole = len(self._head) == OBJECT_FRAME and self._size >= self._declared + DATA_OBJECT_HEAD
        if self._following and (whole or self._following == self._last + 1):
            self._assemble()
        return True

    @property
    def _declared(self) -> int:
        """Size of the Header Object, as it says [ASF 3.1]."""
        return int.from_bytes(self._head[16:OBJECT_FRAME], "little")

    def _follow(self) -> None:
        """Count the fragments that follow those known to follow each other."""
        while (fragment := self._fragments.get(self._following)) is not None:
            data, _ = fragment
            self._head += data[: OBJECT_FRAME - len(self._head)].tobytes()
            self._size += len(data)
            self._following += 1

    def _assemble(self) -> None:
        """Put the fragments together that follow each other: the header is whole."""
        parts = [self._fragments[i] for i in range(self._following)]
        self.data = b"".join(data.tobytes() for data, _ in parts)
        self.pieces = np.concatenate([pieces for _, pieces in parts])
        sizes = np.array([len(data) for data, _ in parts], dtype=np.int64)
        begins = np.cumsum(sizes) - sizes
        self.pieces["offset"] += np.repeat(begins, [len(pieces) for _, pieces in parts])
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
def count_missing(flags, location, state, found):
    """Count the packets that the 8-bit sequence numbers show to be missing.

    `state` holds [last sequence or -1, last location, steps of one, steps of zero, BEGUN and SPARSE] and
    is brought up to date. A server that does not count (all AFFlags alike) shows nothing. Where more than 255
    are missing, the LocationIds tell how often the sequence wrapped, unless a play has begun in between, or
    leaves out packets by its nature; where one begins, 0xFF may be left out [MS-MMSP 2.2.2]. As many gaps as
    `found` has rows are written to it, as [index of the packet behind, LocationId before, LocationId behind,
    packets missing]. Returns the numbers of packets and of gaps.
    """
    missing = 0
    n = 0
    for i in range(len(flags)):
        sequence = np.int64(flags[i])
        here = np.int64(location[i])
        lost = np.int64(0)
        if state[0] == -2 and here == sequence:
            lost = here  # the sequence of a session begins with 0 [MS-MMSP 2.2.2]
        if state[0] >= 0:
            step = (sequence - state[0]) % 256
            if step == 1:
                state[2] += 1
            elif step == 0 and here == state[1] + 1:
                state[3] += 1
            elif (
                step != 0 and state[3] == 0 and not (state[4] & BEGUN and state[0] == 0xFE and sequence == 0)
            ):
                lost = step - 1
                ahead = (here - state[1] - 1) & 0xFFFFFFFF
                while state[4] == 0 and lost + 256 <= ahead and ahead < 1 << 24:
                    lost += 256
        if lost:
            if n < len(found):
                found[n, 0], found[n, 1], found[n, 2], found[n, 3] = i, state[1], here, lost
            missing += lost
            n += 1
        state[0], state[1] = sequence, here
        state[4] &= ~BEGUN
    return missing, n


def _numbered(index: int, before: int, after: int, packets: int, frame: int) -> NDArray[np.void]:
    """A run of missing packets; one beside packets whose numbers are not known has none either."""
    unknown = UNKNOWN_LOCATION in (before, after)
    row = run(index=index, before=before, after=after, packets=packets, frame=frame)
    if unknown:
        for name in ("before", "after", "first", "last"):
            row[name] = UNKNOWN
        row["inferred"] = 1
    return row


class Medium:
    """The faithful file of one content, as it is recovered; without a header, its packets alone."""

    __slots__ = (
        "_computed",
        "_counted",
        "_counting",
        "_datagrams",
        "_file_size",
        "_first_location",
        "_first_sequence",
        "_hole_frame",
        "_holes",
        "_incarnation",
        "_inexact",
        "_last",
        "_lost_end",
        "_next_sequence",
        "_open_hole",
        "_recorder",
        "_restored",
        "_salvaged",
        "_salvaged_count",
        "_session",
        "_settling",
        "_skipped",
        "_sparse",
        "_start_unknown",
        "_uncounted",
        "_waiting",
        "_writer",
        "bytes",
        "carrier_counts",
        "header",
        "header_bytes",
        "header_origins",
        "header_pieces",
        "hurt",
        "hurt_since",
        "late",
        "late_header",
        "missing",
        "name",
        "numbered",
        "packet_size",
        "packets",
        "rejected",
        "resends",
        "source",
        "unsound",
    )

    def __init__(
        self,
        recorder: Recorder,
        session: int,
        parts: HeaderParts,
        name: str,
        packet_size: int = 0,
        *,
        first_sequence: int = -1,
    ) -> None:
        self._recorder = recorder
        self._session = session
        self.name = name
        self.header_bytes = parts.data
        self.header_pieces = parts.pieces
        self.header_origins = parts.origins
        self.header: Header = parse_header(self.header_bytes)
        self.packet_size = self.header.packet_size or packet_size
        self.packets = 0
        self.missing = 0
        self.hurt = 0
        self.hurt_since = 0
        self._open_hole = False
        self.rejected = 0
        self.unsound = 0
        self.bytes = 0
        self._file_size = 0
        self._writer: MediumWriter | None = None
        self._counting = np.array([-1, -1, 0, 0, 0], dtype=np.int64)
        self._waiting: dict[int, tuple[np.void, DataPackets]] = {}  # by sequence
        self._next_sequence = first_sequence  # of datagrams; -1 as long as it is not known
        self._first_sequence = first_sequence
        self.late = 0
        """Datagrams of the medium before: they came too late for it, and are in no file."""
        self._skipped: set[int] = set()  # numbers that the server left out
        self._settling = 0
        self._sparse = False
        self._incarnation = -1
        self.resends = Resends(whole=first_sequence >= 0)
        self._last = (-1, -1, -1)  # highest sequence seen, with its LocationId and incarnation
        self._counted = LossMap()  # what is missing by the sequence numbers
        self._uncounted = LossMap()  # and by the holes
        self._hole_frame = 0
        self._holes: list[tuple[int, int]] = []  # frame behind each, bytes
        self._salvaged: list[MediumBlock] = []  # waiting for the file to be opened
        self._salvaged_count = 0
        self._first_location = -1
        self._datagrams = False
        self._restored = 0
        self._computed: list[RestoredPacket] = []  # as `_salvaged`
        self.source = parts.source
        self.late_header: HeaderParts | None = None
        self._lost_end = False  # whether a hole lies behind the last packet of an earlier play
        self.numbered = True  # False: the packets' numbers are counted here
        self._inexact = False  # whether more may be missing than is counted
        self._start_unknown = False  # whether packets before the first one may be
        self.carrier_counts = False
        """Whether the transport numbers what carries the packets (RTP); then `lost` tells what is missing."""

    @property
    def next_sequence(self) -> int:
        """Number of the datagram expected behind the last one seen, -1 when nothing is known of it."""
        return max(self._last[0] + 1, self._next_sequence)

    def begin_play(self, *, sparse: bool) -> None:
        """Take note that a play begins: LocationIds may jump, and in a `sparse` one go on jumping."""
        self._sparse = sparse
        self._settling = SETTLING
        self._counting[4] = BEGUN | SPARSE if sparse else BEGUN

    def asked_again(self, numbers: tuple[int, ...]) -> tuple[int, int]:
        """Take note that the client asks for packets again: so many had been captured, and so many not."""
        return self.resends.asked(numbers, self._last[0], self._seen)

    def _seen(self, sequence: int) -> bool:
        return sequence < self._next_sequence or sequence in self._waiting

    @property
    def bare(self) -> bool:
        """Whether no header was captured: the packets are kept as they were on the wire."""
        return not self.header_bytes

    def hole(self, message: Hole | Malformed) -> None:
        """Take note of a hole in the stream, or of its edge, and of the packets it is known to hurt."""
        self._open_hole = True
        self._hole_frame = message.at.frame
        self.hurt_since += message.packets_cut
        if isinstance(message, Hole):
            self._holes.append((message.at.frame, message.length))
        self._begins_with_loss()

    def lost(self, frame: int, packets: int, *, exact: bool) -> None:
        """Take note of packets that the numbers of the transport show to be missing behind those added.

        `exact` says that no more than these are, or that LocationIds will tell.
        """
        self._open_hole = True
        self._hole_frame = frame
        self.hurt_since += packets
        self._inexact |= not exact
        self._begins_with_loss()

    def start_unknown(self, *, unknown: bool = True) -> None:
        """Take note that packets before the first one may be missing, and nothing tells; or that none is."""
        self._start_unknown = unknown

    def end_unknown(self) -> None:
        """Take note that packets behind the last one may be missing, and nothing tells."""
        self._open_hole = self._datagrams = True

    def _begins_with_loss(self) -> None:
        if self._counting[0] == -1:
            self._counting[0], self._counting[1] = -2, -1  # the first packet's sequence tells how many

    def new_play(self) -> None:
        """Take note that another play goes on with the medium: sequence and numbers begin anew.

        What the server had sent when a connection was broken off is not lost for the capture.
        """
        if self.hurt_since:
            at_end = {"index": self.packets, "packets": self.hurt_since, "frame": self._hole_frame}
            for losses in (self._counted, self._uncounted):
                losses.add(run(before=int(self._counting[1]), after=UNKNOWN, **at_end))
            self.missing += self.hurt_since
            self.hurt += self.hurt_since
            self.hurt_since = 0
        self._lost_end |= self._open_hole
        self._open_hole = False
        self._counting[:2] = -1, -1

    def cut(self, packet: CutPacket) -> None:
        """Take what was seen of a hurt packet; the holes count it."""
        size = self.packet_size
        if not 0 < len(packet.data) <= size:
            return
        room = self._writer is not None or len(self._salvaged) < SALVAGED_WAITING
        saved = salvage(packet.data, packet.known, size) if room else None
        if saved is not None:
            self._salvaged.append(salvaged_block(packet, saved, size, self._salvaged_count * size))
            self._salvaged_count += 1
        for losses in (self._counted, self._uncounted):
            losses.cut(
                index=self.packets if packet.reliable else UNKNOWN,
                location=packet.location,
                bytes_seen=packet.seen,
                bytes_saved=int(np.count_nonzero(saved.source >= 0)) if saved is not None else 0,
                payloads=saved.payloads if saved is not None else 0,
            )
        if self._writer is not None:
            self._flush_salvaged(self._writer)

    def restore(self, packet: RestoredPacket) -> None:
        """Take a packet that was computed from parity; it goes to the playable file alone."""
        size = self.packet_size
        room = self._writer is not None or len(self._salvaged) < SALVAGED_WAITING
        if self.bare or not 0 < len(packet.made.data) <= size or not room:
            return
        self._computed.append(packet)
        self._salvaged.append(restored_block(packet, size, self._salvaged_count * size))
        self._salvaged_count += 1
        self._restored += 1
        for losses in (self._counted, self._uncounted):
            losses.restored(packet.packet_id, len(packet.made.data), packet.made.payloads)
        if self._writer is not None:
            self._flush_salvaged(self._writer)

    def _flush_salvaged(self, writer: MediumWriter) -> None:
        for block in self._salvaged:
            writer.salvage(block)
        for packet in self._computed:
            writer.restored(packet)
        self._salvaged.clear()
        self._computed.clear()

    @property
    def _by_sequence(self) -> bool:
        """Whether the server's AFFlags count."""
        return bool(self._counting[2]) and not self._counting[3]

    @property
    def packets_missing(self) -> int:
        """Packets known to be missing: by the sequence numbers, and behind the last packet by the holes.

        A server whose AFFlags do not count leaves only the holes, and the LocationIds on both sides of them.
        """
        counted = self.missing if self._by_sequence else self.hurt
        return counted + self.hurt_since

    @property
    def steady(self) -> bool:
        """Whether the file is open and nothing is missing before the next packet."""
        waits = self._open_hole or self.hurt_since or self._datagrams or self._waiting
        return self._writer is not None and not self.bare and not waits and int(self._counting[0]) >= 0

    @property
    def incarnation(self) -> int:
        """That of the packets laid last."""
        return self._incarnation

    @property
    def counting(self) -> NDArray[np.int64]:
        """The state of `count_missing`, for a pass that counts itself."""
        return self._counting

    @property
    def file_size(self) -> int:
        """Bytes of the file so far."""
        return self._file_size

    def laid(self, block: MediumBlock, size: int, unsound: int) -> None:
        """Append packets of `size` bytes on the wire that were laid and counted elsewhere."""
        assert self._writer is not None
        self._writer.write(block)
        self._file_size += len(block.data)
        self.unsound += unsound
        self.packets += len(block.packets)
        self.bytes += size

    def add(self, block: DataPackets) -> None:
        """Append media packets in the order of sending."""
        if block.ordered:
            self._datagrams |= not block.reliable
        if block.reliable or block.ordered:
            self._append(block.packets, block)
            return
        if self._counting[0] == -1:
            self._counting[0] = -2  # datagrams that are lost before the first one leave no hole
        self._reorder(block)

    def _append(self, packets: NDArray[np.void], block: DataPackets) -> None:
        fitting = packets["size"] <= self.packet_size
        if not self.bare and not fitting.all():
            self.rejected += int(np.count_nonzero(~fitting))
            packets = packets[fitting]
        if len(packets) and int(packets["incarnation"][0]) != self._incarnation:
            if self._incarnation >= 0:
                self._counting[4] |= BEGUN
            self._incarnation = int(packets["incarnation"][0])
        # Tiny packets padded to a large size may be thousands of times their bytes.
        at_once = LAID_AT_ONCE if self.bare else max(LAID_AT_ONCE // max(self.packet_size, 1), 1)
        for begin in range(0, len(packets), at_once):
            self._lay(packets[begin : begin + at_once], block)

    def _lay(self, packets: NDArray[np.void], block: DataPackets) -> None:
        writer = self._open()
        where = block.data, block.base, block.pieces
        if self.bare:
            laid = bare_block(packets, *where, self._file_size)
        else:
            laid = packet_block(packets, *where, self.packet_size, self._file_size)
        writer.write(laid)
        self._file_size += len(laid.data)
        self.unsound += int(np.count_nonzero(laid.packets["sound"] == 0))
        if self._first_location < 0:
            self._first_location = int(packets["location"][0])
        self._close_hole(packets[0])
        self._count(packets)
        self.packets += len(packets)
        self.bytes += int(packets["size"].sum())

    def _count(self, packets: NDArray[np.void]) -> None:
        """Count what the sequence numbers show to be missing before and among packets."""
        flags = np.ascontiguousarray(packets["flags"])
        location = np.ascontiguousarray(packets["location"])
        before = self._counting.copy()
        missing, gaps = count_missing(flags, location, self._counting, NO_RUNS)
        if not missing:
            return
        self.missing += int(missing)
        found = np.empty((gaps, 4), dtype=np.int64)
        count_missing(flags, location, before, found)
        index, last, here, lost = np.ascontiguousarray(found.T)
        self._counted.add(runs(index + self.packets, last, here, lost, packets["first_frame"][index]))

    def _close_hole(self, packet: np.void) -> None:
        """Settle what the holes before a packet cost; elsewhere a server may just leave packets out."""
        location, last = int(packet["location"]), int(self._counting[1])
        left_out = location - last - 1 if self._open_hole and last >= 0 else 0
        hurt = max(self.hurt_since, left_out if left_out < 1 << 24 else 0)
        if hurt:
            frame = int(packet["first_frame"])
            rows = _numbered(self.packets, last, location, hurt, frame)
            rows["inferred"] |= not self.numbered
            self._uncounted.add(rows)
        self.hurt += hurt
        self.hurt_since = 0
        self._open_hole = False

    def _open(self) -> MediumWriter:
        """Begin the file with its first media packet: a header alone is none yet."""
        if self._writer is None:
            self._writer = self._begin("packets" if self.bare else "faithful")
            self._flush_salvaged(self._writer)
        return self._writer

    def _begin(self, kind: MediumKind) -> MediumWriter:
        writer = self._recorder.open_medium(self._session, self.header_bytes, self.name, kind, self.source)
        if not self.bare:
            data = np.frombuffer(self.header_bytes, dtype=np.uint8)
            starts = np.ascontiguousarray(self.header_pieces["offset"][:1])
            provenance = self.header_origins
            if provenance is None and len(starts):
                size = np.array([len(data)], dtype=np.int64)
                provenance = origins(starts, size, len(data), 0, self.header_pieces)
            elif provenance is None:
                provenance = np.array([(0, len(data), 0, 0, Origin.DECODED)], dtype=PROVENANCE)
            writer.write(MediumBlock(data, media_rows(np.empty(0, dtype=DATA_PACKET)), provenance))
            self._file_size = len(data)
        return writer

    def keep_header(self) -> None:
        """Record the header alone: the session ends, and no packet of the medium was captured."""
        writer = self._begin("header")
        missing = self.packets_missing
        reasons = [Reason("no packets", REASONS["no packets"])]
        if missing:
            reasons.append(Reason("packets missing", f"{missing} packets are missing", missing))
        writer.close(
            MediumSummary(
                packets=0,
                packets_missing=missing,
                complete=False,
                ended=False,
                verdict=HEADER_ONLY,
                reasons=(*reasons, *hole_reasons(self._holes)),
            )
        )

    def _reorder(self, block: DataPackets) -> None:
        """Put datagrams in order of their sequence; a resent one fills its place, a repeated one goes."""
        packets = block.packets
        flags = packets["flags"].astype(np.int64)
        self._datagrams = True
        if self._next_sequence < 0:
            # A session begins with 0 [MS-MMSP 2.2.2]; the first to arrive need not be the first sent.
            self._next_sequence = 0 if flags[0] < REORDER_WINDOW else int(flags[0])
            self.resends.whole = self._next_sequence == 0
            if self._next_sequence == 0:
                self._begins_with_loss()
        in_step = (flags - self._next_sequence) % 256 == np.arange(len(flags)) % 256
        steady = (packets["incarnation"] == self._last[2]).all() and (np.diff(packets["location"]) > 0).all()
        quiet = not self._waiting and not self._skipped and not self.resends.pending
        if quiet and in_step.all() and steady and packets["location"][0] > self._last[1]:
            self._next_sequence += len(packets)
            self._settling = max(self._settling - len(packets), 0)
            self._remember(packets[-1], self._next_sequence - 1)
            self._append(packets, block)
            return
        for packet in packets:
            sequence = self._sequence(packet)
            self._settling = max(self._settling - 1, 0)
            self.resends.came(sequence)
            if sequence >= self._next_sequence:
                self._waiting.setdefault(sequence, (packet, block))
            self.late += sequence < self._first_sequence
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
        begins = last < 0 or int(packet["incarnation"]) != incarnation or self._settling > 0
        if begins or self._sparse:
            expected = self.next_sequence
            if begins and last >= 0 and expected % 256 == 0xFF and flags == 0:
                self._skipped.add(expected)  # 0xFF is left out before a new play [MS-MMSP 2.2.2]
                return expected + 1
            return expected + (flags - expected + 128) % 256 - 128
        ahead = int(packet["location"]) - location
        predicted = last + ahead
        if ahead > 0:
            return max(predicted - (predicted - flags) % 256, last + (flags - last) % 256)
        return predicted + (flags - predicted) % 256

    def _flush_ready(self) -> None:
        ready: list[tuple[np.void, DataPackets]] = []
        while self._next_sequence in self._waiting or self._next_sequence in self._skipped:
            if self._next_sequence in self._waiting:
                ready.append(self._waiting.pop(self._next_sequence))
            else:
                self._write(ready)
                ready = []
                self._skip(self._next_sequence)
            self._next_sequence += 1
        self._write(ready)

    def _skip(self, sequence: int) -> None:
        """Pass over a number that the server left out."""
        self._skipped.discard(sequence)
        self._counting[4] |= BEGUN

    def _flush_rest(self) -> None:
        """Write what waits for packets that will not come any more."""
        for after in sorted(self._waiting):
            if after not in self._waiting:  # written with the one before
                continue
            for sequence in [s for s in self._skipped if s < after]:
                self._skip(sequence)
            self._next_sequence = after
            self._flush_ready()

    def _write(self, ready: list[tuple[np.void, DataPackets]]) -> None:
        first = 0
        for i in range(1, len(ready) + 1):
            if i == len(ready) or ready[i][1] is not ready[first][1]:
                packets = np.array([packet for packet, _ in ready[first:i]], dtype=DATA_PACKET)
                self._append(packets, ready[first][1])
                first = i

    @property
    def _unseen(self) -> int:
        """Packets that a finite content's header declares behind the last one known of.

        Where the server left packets out before, it may have left these out too: 0.
        """
        declared, last = self.header.packet_count, int(self._counting[1])
        gapless = last + 1 - self._first_location == self.packets + self.packets_missing - self.hurt_since
        if self.header.broadcast or not gapless or declared <= last + 1 + self.hurt_since:
            return 0
        return declared - last - 1 - self.hurt_since

    def close(self, *, ended: bool, endings: tuple[Reason, ...] = ()) -> None:
        """Finish the medium.

        Parameters
        ----------
        ended : bool
            Whether the server said that it had sent everything.
        endings : tuple of Reason
            How the sending ended.
        """
        self.resends.settle(self._seen)
        self._flush_rest()
        if self._writer is None:
            return
        missing, unseen = self.packets_missing, self._unseen
        if not (self._open_hole or self._datagrams):
            unseen, never_sent = 0, unseen  # nothing behind the last packet can have been lost
        else:
            never_sent = 0
        told = ended and not self.bare and not self.rejected and not unseen
        exact = not (self._inexact or self._start_unknown or self._lost_end)
        complete = told and exact and not missing and not self._open_hole
        bounded = told and exact and (self._reaches_end or not self._open_hole)
        word = verdict(packets=self.packets, missing=missing, complete=complete, bounded=bounded)
        losses = self._counted if self._by_sequence else self._uncounted
        loss = losses.rows(self._last_runs(unseen if ended else 0))
        self._writer.close(
            MediumSummary(
                packets=self.packets,
                packets_missing=missing,
                complete=complete,
                ended=ended,
                verdict=word,
                reasons=(*endings, *self._reasons(unseen + never_sent, int(loss["hurt"].sum()))),
                loss=loss,
                late_header=(self.late_header.data, self.late_header.source)
                if self.late_header
                else (b"", ""),
            )
        )
        self._writer = None

    @property
    def _reaches_end(self) -> bool:
        """Whether the packets seen and known to be missing reach the number that the header declares."""
        declared = self.header.packet_count
        return not self.header.broadcast and int(self._counting[1]) + 1 + self.hurt_since == declared

    def _last_runs(self, unseen: int) -> Iterator[NDArray[np.void]]:
        """What is missing behind the last packet: by the holes there, and by what the header declares."""
        last = int(self._counting[1])
        if self.hurt_since:
            yield _numbered(self.packets, last, UNKNOWN, self.hurt_since, self._hole_frame)
        if unseen:
            last += self.hurt_since
            rows = run(index=self.packets, before=last, after=UNKNOWN, packets=unseen, frame=self._hole_frame)
            rows["reason"] = LossReason.DECLARED
            yield rows

    def _reasons(self, unseen: int, hurt: int) -> Iterator[Reason]:
        """What speaks for and against the medium's completeness."""
        missing = self.packets_missing
        if self.carrier_counts:
            if not (missing or self._open_hole or self._inexact or self._start_unknown):
                yield Reason("all RTP packets seen", REASONS["all RTP packets seen"])
        elif not self._by_sequence:
            text = REASONS["packets not counted"] if self.numbered else NOT_COUNTED
            yield Reason("packets not counted", text)
        elif not missing:
            text = f"the sequence numbers of {self.packets} packets follow each other"
            yield Reason("all sequence numbers seen", text, self.packets)
        if not (self._holes or self._datagrams or self.carrier_counts):
            yield Reason("all bytes seen", REASONS["all bytes seen"])
        if missing:
            yield Reason("packets missing", f"{missing} packets are missing", missing)
        if self.resends.packets:
            yield Reason("asked again", self.resends.told(), self.resends.packets)
        if self._restored:
            text = (
                f"{self._restored} packets that were not seen are computed from parity: in the playable file"
            )
            yield Reason("packets restored", text, self._restored)
        yield from hurt_reasons(hurt)
        yield from hole_reasons(self._holes)
        if self._open_hole:
            text = "a hole lies behind the last packet: what it held cannot be told"
            yield Reason("hole at the end", text, self.hurt_since, self._hole_frame)
        if self.rejected:
            text = f"{self.rejected} packets larger than the {self.packet_size} bytes that the header allows"
            yield Reason("packets too large", text, self.rejected)
        if self.unsound:
            text = f"{self.unsound} packets do not parse as ASF data packets"
            yield Reason("packets unsound", text, self.unsound)
        if self.header.broadcast:
            text = f"a live stream, joined at packet {self._first_location}"
            yield Reason("joined a live stream", text, self._first_location)
        elif self._first_location == UNKNOWN_LOCATION:
            if self._inexact or self._start_unknown:
                yield Reason("more may be missing", REASONS["more may be missing"])
        elif self._first_location:
            yield Reason("starts inside", f"begins with packet {self._first_location}", self._first_location)
        if unseen:
            declared = self.header.packet_count
            text = f"the header declares {declared} packets, {unseen} more than the last one's number tells"
            yield Reason("declares more packets", text, unseen)
