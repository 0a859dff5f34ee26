"""One medium of a session: its packets counted and laid into the file, and how whole it is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mmsforensics.asf import Header, parse_header, salvage
from mmsforensics.protocols import CutPacket, DataPackets, Hole, Malformed
from mmsforensics.protocols.messages import UNKNOWN_LOCATION
from mmsforensics.sessions.counting import BEGUN, NO_RUNS, SPARSE, count_missing
from mmsforensics.sessions.datagram_order import DatagramOrder, Ordered
from mmsforensics.sessions.header_parts import HeaderParts
from mmsforensics.sessions.loss import UNKNOWN, LossMap, LossReason, numbered_run, run, runs
from mmsforensics.sessions.medium import (
    MediumBlock,
    bare_block,
    header_block,
    packet_block,
    restored_block,
    salvaged_block,
)
from mmsforensics.sessions.model import MediumKind, MediumSummary, MediumWriter, Recorder
from mmsforensics.sessions.msb_order import RestoredPacket
from mmsforensics.sessions.push import NOT_COUNTED
from mmsforensics.sessions.verdict import HEADER_ONLY, REASONS, Reason, hole_reasons, hurt_reasons, verdict

LAID_AT_ONCE = 32 << 20
"""Bytes of packets, padded, that are laid into the file at once."""

SALVAGED_WAITING = 256
"""Hurt packets kept until the first whole one opens the file."""


class Medium:
    """The faithful file of one content, as it is recovered; without a header, its packets alone."""

    __slots__ = (
        "_computed",
        "_counted",
        "_counting",
        "_datagrams",
        "_file_size",
        "_first_location",
        "_first_uncounted",
        "_hole_frame",
        "_holes",
        "_incarnation",
        "_inexact",
        "_lost_end",
        "_next_sequence",
        "_open_hole",
        "_recorder",
        "_restored",
        "_salvaged",
        "_salvaged_count",
        "_session",
        "_start_unknown",
        "_uncounted",
        "_writer",
        "bytes",
        "carrier_counts",
        "header",
        "header_bytes",
        "header_origins",
        "header_pieces",
        "hurt",
        "hurt_since",
        "late_header",
        "missing",
        "name",
        "numbered",
        "order",
        "packet_size",
        "packets",
        "rejected",
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
        next_sequence: int = -1,
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
        self._next_sequence = next_sequence
        self._first_uncounted = False  # whether packets lost before the first one are counted by nothing
        self.order = DatagramOrder(first_sequence)
        self._incarnation = -1
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

    def begin_play(self, *, sparse: bool) -> None:
        """Take note that a play begins: LocationIds may jump, and in a `sparse` one go on jumping."""
        self.order.begin_play(sparse=sparse)
        self._counting[4] = BEGUN | SPARSE if sparse else BEGUN

    def asked_again(self, numbers: tuple[int, ...]) -> tuple[int, int]:
        """Take note that the client asks for packets again: so many had been captured, and so many not."""
        return self.order.asked(numbers)

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
        """Let the first packet's sequence tell how many are lost before it.

        It counts all packets of a session: behind another medium on from its last one [MS-MMSP 2.2.2].
        """
        if self._counting[0] != -1:
            return
        self._counting[:2] = -2, -1
        if self._next_sequence >= 0:
            self._counting[0] = (self._next_sequence - 1) % 256
            self._counting[4] |= BEGUN
        else:
            self._first_uncounted = True  # unless the first packet says that it is not

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
        self._next_sequence = -1

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
        waits = self._open_hole or self.hurt_since or self._datagrams
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
        self._datagrams = True
        self._settled(self.order.add(block))

    def _settled(self, ordered: Iterator[Ordered]) -> None:
        """Append datagrams that are in order."""
        for packets, block in ordered:
            if block is None:
                self._counting[4] |= BEGUN
            else:
                self._append(packets, block)

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
        if before[0] == -2 and self._first_uncounted:
            # The sequence of a session begins with 0, as LocationIds of content played from its start do.
            self._first_uncounted = flags[0] not in (0, location[0])
            self._inexact |= self._first_uncounted
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
            rows = numbered_run(self.packets, last, location, hurt, frame)
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
            writer.write(header_block(self.header_bytes, self.header_pieces, self.header_origins))
            self._file_size = len(self.header_bytes)
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
        self._settled(self.order.rest())
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

    @property
    def next_sequence(self) -> int:
        """Sequence number of the packet behind the last one, modulo 256; -1 if nothing tells it."""
        known = self._by_sequence and not (self._open_hole or self.hurt_since or self._datagrams)
        return (int(self._counting[0]) + 1) % 256 if known else -1

    def _last_runs(self, unseen: int) -> Iterator[NDArray[np.void]]:
        """What is missing behind the last packet: by the holes there, and by what the header declares."""
        last = int(self._counting[1])
        if self.hurt_since:
            yield numbered_run(self.packets, last, UNKNOWN, self.hurt_since, self._hole_frame)
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
        elif not missing and not self._first_uncounted:
            text = f"the sequence numbers of {self.packets} packets follow each other"
            yield Reason("all sequence numbers seen", text, self.packets)
        if not (self._holes or self._datagrams or self.carrier_counts):
            yield Reason("all bytes seen", REASONS["all bytes seen"])
        if missing:
            yield Reason("packets missing", f"{missing} packets are missing", missing)
        if self.order.resends.packets:
            resends = self.order.resends
            yield Reason("asked again", resends.told(), resends.packets)
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
        unnumbered = self._first_location == UNKNOWN_LOCATION and not self.header.broadcast
        if self._first_uncounted or (unnumbered and (self._inexact or self._start_unknown)):
            yield Reason("more may be missing", REASONS["more may be missing"])
        if self.header.broadcast:
            text = f"a live stream, joined at packet {self._first_location}"
            yield Reason("joined a live stream", text, self._first_location)
        elif self._first_location and not unnumbered:
            yield Reason("starts inside", f"begins with packet {self._first_location}", self._first_location)
        if unseen:
            declared = self.header.packet_count
            text = f"the header declares {declared} packets, {unseen} more than the last one's number tells"
            yield Reason("declares more packets", text, unseen)
