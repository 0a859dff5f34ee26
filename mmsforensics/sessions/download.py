"""A progressive download of an ASF file over HTTP: the file as downloaded.

Without a hole the faithful file is the body, byte for byte. Behind a hole only whole ASF packets are
taken, so that nothing stands in the file at a place where it was not. Of a body whose beginning was not
captured the packets are taken, where their fixed size shows them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mmsforensics.asf import Header, parse_header, salvage, walk_packets
from mmsforensics.asf.salvaged import MAX_PACKET
from mmsforensics.asf.tree import DATA_OBJECT_HEAD
from mmsforensics.protocols import Body, BodyEnd, DataPackets, find_asf_packets
from mmsforensics.protocols.cut import CutUnit
from mmsforensics.protocols.messages import DATA_PACKET, UNKNOWN_LOCATION, StreamBuffer
from mmsforensics.sessions.assembly import Ranges, length_within
from mmsforensics.sessions.header_parts import MAX_HEADER
from mmsforensics.sessions.loss import UNKNOWN, LossMap, LossReason, run
from mmsforensics.sessions.medium import (
    MEDIA_PACKET,
    MediumBlock,
    Origin,
    media_rows,
    origins,
    salvaged_block,
)
from mmsforensics.sessions.model import MediumSummary, MediumWriter, Recorder
from mmsforensics.sessions.verdict import REASONS, Reason, hole_reasons, hurt_reasons, verdict
from mmsforensics.streams import spans


class Download:
    """One HTTP body that begins with an ASF Header Object."""

    def __init__(
        self,
        recorder: Recorder,
        session: int,
        name: str,
        announced: Ranges | None = None,
        *,
        decoded: bool = False,
    ) -> None:
        self._announced = announced
        self._decoded = decoded  # whether no frame holds its bytes
        self._recorder = recorder
        self._session = session
        self._name = name
        self._buffer = StreamBuffer()
        self._writer: MediumWriter | None = None
        self._file_size = 0
        self._packet_size = 0
        self._data_start = 0
        self._data_end = 0  # of the last packet, by the Data Object's size; 0 when that is not known
        self._holes = 0
        self._next = 0  # body offset behind the last byte seen
        self._hole_list: list[tuple[int, int]] = []  # frame behind each, bytes
        self._losses = LossMap()
        self._cut: CutUnit | None = None  # the packet that the last hole has hurt
        self._cut_number = 0
        self._salvaged = 0
        self._next_number = 0  # of the packet behind the last whole one
        self.packets = 0
        self.missing = 0
        self.bytes = 0
        self.title = ""
        self.header: Header | None = None

    def body(self, message: Body) -> None:
        """Take a stretch of the body."""
        if message.offset > self._next:
            self._hole(message.at.frame, message.offset)
            self._hurt(len(self._buffer.data))
            self._buffer.clear(message.offset)
        self._next = message.offset + len(message.data)
        self._buffer.append(message.offset, message.data, message.pieces)
        self._take()
        self._buffer.settle()

    def _hole(self, frame: int, end: int) -> None:
        """Take note of a hole up to `end`; what was never announced was not lost in the capture."""
        length = end - self._next
        self._holes += length
        if self._announced is not None:
            length = length_within(self._announced, self._next, end)
        if length:
            self._hole_list.append((frame, length))

    @property
    def holes(self) -> int:
        """Bytes that are missing before the last one seen."""
        return self._holes

    def end(self, message: BodyEnd, more: tuple[Reason, ...] = ()) -> None:
        """Take the end of the body; `more` are reasons for the verdict that the body does not show."""
        if message.length > self._next:
            self._hole(message.at.frame, message.length)
        if self._writer is None:
            return
        if not self._holes:
            self._raw(len(self._buffer.data))
        self._hurt(len(self._buffer.data))
        self._end_cut()
        self.missing = missing = max(self._expected(message.length) - self.packets, 0)
        whole = message.complete and not self._holes and self.packets > 0
        bounded = message.ended or message.length >= self._data_end > 0
        loss = self._losses.rows(self._last_runs(message))
        self._writer.close(
            MediumSummary(
                packets=self.packets,
                packets_missing=missing,
                complete=whole,
                ended=message.ended,
                verdict=verdict(packets=self.packets, missing=missing, complete=whole, bounded=bounded),
                reasons=(*self._reasons(message, missing, int(loss["hurt"].sum())), *more),
                loss=loss,
            )
        )
        self._writer = None

    def _last_runs(self, message: BodyEnd) -> Iterator[NDArray[np.void]]:
        """The packets behind the last whole one, by their numbers: those in a hole, those not reached."""
        if not self._packet_size:
            return
        total = max((self._data_end or message.length) - self._data_start, 0) // self._packet_size
        reached = min(max(message.length - self._data_start, 0) // self._packet_size, total)
        first = self._next_number
        for last, reason in ((reached, LossReason.NOT_CAPTURED), (total, LossReason.NOT_REACHED)):
            if last > first:
                rows = run(index=self.packets, before=first - 1, after=UNKNOWN, packets=last - first, frame=0)
                rows["inferred"], rows["reason"] = 0, reason
                yield rows
                first = last

    def _reasons(self, message: BodyEnd, missing: int, hurt: int) -> Iterator[Reason]:
        """What speaks for and against the medium's completeness."""
        frame = message.at.frame
        if message.complete:
            yield Reason("body whole", REASONS["body whole"], message.length, frame)
        elif not self._holes or not self._data_end or message.length < self._data_end:
            text = f"the download ended behind byte {message.length}"
            yield Reason("body ended early", text, message.length, frame)
        if not self._holes:
            yield Reason("all bytes seen", "no byte of the download is missing up to its end")
        if missing:
            yield Reason("packets missing", f"{missing} packets are missing", missing)
        yield from hurt_reasons(hurt)
        yield from hole_reasons(self._hole_list)

    def _hurt(self, n: int) -> None:
        """Keep the first `n` bytes of the buffer, which belong to one packet that is not whole."""
        buffer, size = self._buffer, self._packet_size
        inside = self._data_start <= buffer.offset and not 0 < self._data_end <= buffer.offset
        if n == 0 or not inside or not 0 < size <= MAX_PACKET or self._writer is None:
            return
        number = (buffer.offset - self._data_start) // size
        if self._cut is None or self._cut_number != number:
            self._end_cut()
            self._cut, self._cut_number = CutUnit(self._data_start + number * size, size, 0), number
        self._cut.add(buffer.offset, buffer.data[:n], buffer.pieces)

    def _end_cut(self) -> None:
        """Save what can be saved of the hurt packet: no more of it will come."""
        cut, self._cut = self._cut, None
        packet = cut.packet("server", "", location=self._cut_number) if cut is not None else None
        if packet is None or self._writer is None:
            return
        saved = salvage(packet.data, packet.known, self._packet_size)
        if saved is not None:
            where = self._salvaged * self._packet_size
            self._writer.salvage(salvaged_block(packet, saved, self._packet_size, where))
            self._salvaged += 1
        self._losses.cut(
            index=self.packets,
            location=packet.location,
            bytes_seen=packet.seen,
            bytes_saved=int(np.count_nonzero(saved.source >= 0)) if saved is not None else 0,
            payloads=saved.payloads if saved is not None else 0,
        )

    def _expected(self, length: int) -> int:
        if not self._packet_size:
            return 0
        end = min(self._data_end or length, length) if self._holes else self._data_end or length
        return max(end - self._data_start, 0) // self._packet_size

    def _take(self) -> None:
        if self._writer is None and not self._begin():
            return
        if not self._packet_size:
            if not self._holes:
                self._raw(len(self._buffer.data))
            return
        self._take_packets()
        position = self._buffer.offset
        if self._data_end and position >= self._data_end and not self._holes:
            self._raw(len(self._buffer.data))

    def _begin(self) -> bool:
        """Wait for the whole header, then open the medium. A header with a hole opens none."""
        data = self._buffer.data
        if self._holes or self._buffer.offset != 0 or len(data) < 24:
            return False
        size = int.from_bytes(data[16:24].tobytes(), "little") + DATA_OBJECT_HEAD
        if size > MAX_HEADER or len(data) < size:
            return False
        raw = data[:size].tobytes()
        header = parse_header(raw)
        self._writer = self._recorder.open_medium(self._session, raw, self._name)
        self.header = header
        self.title = header.title
        self._packet_size = header.packet_size
        self._data_start = size
        declared = int.from_bytes(raw[size - 34 : size - 26], "little")
        if declared > DATA_OBJECT_HEAD and not header.broadcast:
            self._data_end = size - DATA_OBJECT_HEAD + declared
        self._raw(size)
        return True

    def _take_packets(self) -> None:
        buffer, size = self._buffer, self._packet_size
        skip = -(buffer.offset - self._data_start) % size
        if skip:
            self._hurt(min(skip, len(buffer.data)))
            buffer.consume(min(skip, len(buffer.data)))
            if (buffer.offset - self._data_start) % size:
                return
        end = buffer.offset + len(buffer.data)
        if self._data_end:
            end = min(end, self._data_end)
        n = max(end - buffer.offset, 0) // size
        if n == 0 or self._writer is None:
            return
        self._end_cut()
        data = buffer.data[: n * size]
        start = np.arange(n, dtype=np.int64) * size
        lengths = np.full(n, size, dtype=np.int64)
        packets = np.zeros(n, dtype=DATA_PACKET)
        packets["start"], packets["size"] = start, size
        packets["location"] = (buffer.offset - self._data_start) // size + np.arange(n)
        packets["first_frame"], packets["frame"], packets["ts"] = spans(
            start + buffer.offset, lengths, buffer.pieces
        )
        self._lost_before(packets[0])
        rows = media_rows(packets)
        rows["file_offset"] = self._file_size + start
        parsed = walk_packets(data, size)
        rows["send_time_ms"], rows["duration_ms"] = parsed["send_time_ms"], parsed["duration_ms"]
        rows["sound"] = parsed["ok"]
        where = self._origins(start + buffer.offset, lengths, size)
        self._writer.write(MediumBlock(data, rows, where))
        self._file_size += len(data)
        self.packets += n
        self._next_number += n
        self.bytes += len(data)
        buffer.consume(n * size)

    def _lost_before(self, packet: np.void) -> None:
        """Take note of the packets between the last whole one and this."""
        number, expected = int(packet["location"]), self._next_number
        if number > expected:
            frame = int(packet["first_frame"])
            self._losses.add(
                run(
                    index=self.packets,
                    before=expected - 1,
                    after=number,
                    packets=number - expected,
                    frame=frame,
                )
            )
        self._next_number = number

    def _origins(self, start: NDArray[np.int64], lengths: NDArray[np.int64], stride: int) -> NDArray[np.void]:
        """Where stretches of the buffer's stream come from, laid at the end of the file."""
        where = origins(start, lengths, stride, self._file_size, self._buffer.pieces)
        if self._decoded:
            where["frame"], where["frame_offset"], where["kind"] = 0, 0, Origin.DECODED
        return where

    def _raw(self, n: int) -> None:
        if n == 0 or self._writer is None:
            return
        data = self._buffer.data[:n]
        start = np.array([self._buffer.offset], dtype=np.int64)
        where = self._origins(start, np.array([n], dtype=np.int64), n)
        self._writer.write(MediumBlock(data, np.empty(0, dtype=MEDIA_PACKET), where))
        self._file_size += n
        self._buffer.consume(n)


class MiddleOfDownload:
    """One HTTP body whose beginning was not captured, with ASF packets of one size in it."""

    def __init__(self) -> None:
        self._buffer = StreamBuffer()
        self._next = 0
        self._phase = 0
        self._size = 0

    def body(self, message: Body) -> DataPackets | None:
        """Take a stretch of the body; returns the packets that are whole."""
        buffer = self._buffer
        if message.offset > self._next:
            buffer.clear(message.offset)
        self._next = message.offset + len(message.data)
        buffer.append(message.offset, message.data, message.pieces)
        if not self._size:
            found = find_asf_packets(buffer.data)
            if found is None:
                return None
            self._phase, self._size = buffer.offset + found[0], found[1]
        block = self._packets(message)
        buffer.settle()
        return block

    def _packets(self, message: Body) -> DataPackets | None:
        buffer, size = self._buffer, self._size
        skip = (self._phase - buffer.offset) % size
        if skip > len(buffer.data):
            return None
        buffer.consume(skip)
        n = len(buffer.data) // size
        start = np.arange(n, dtype=np.int64) * size
        data, base, pieces = buffer.data[: n * size], buffer.offset, buffer.pieces
        # Behind the last packet stands an index, at places where packets would be.
        start = start[(data[start] == ASF_BEGIN[0]) & (data[start + 1] == 0) & (data[start + 2] == 0)]
        packets = np.zeros(len(start), dtype=DATA_PACKET)
        packets["start"], packets["size"], packets["location"] = start, size, UNKNOWN_LOCATION
        if len(start):
            packets["first_frame"], packets["frame"], packets["ts"] = spans(
                start + base, np.full(len(start), size, dtype=np.int64), pieces
            )
        buffer.consume(n * size)
        if not len(start):
            return None
        return DataPackets(
            at=message.at, kind="D", packets=packets, data=data, base=base, pieces=pieces, inferred=True
        )


ASF_BEGIN = b"\x82\0\0"
"""How a packet with error correction data begins [ASF 5.2.1]."""
