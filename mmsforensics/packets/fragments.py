"""IP fragments put together: the last one's row becomes the row of the whole packet.

Rules of this file:

* where fragments overlap, the bytes that arrived first are kept; an overlap that is no plain repetition
  is an anomaly, for it is how detection is evaded [RFC 1858, RFC 3128, RFC 5722];
* of a packet of which not all was captured the bytes up to the first hole are handed on, as if the snapshot
  length had cut them there;
* a packet put together lies in no frame: positions in it are turned into frames by `Stitched`;
* what waits is bounded in number, bytes and time.

Reassembly: IPv4 [RFC 791 3.2], IPv6 [RFC 8200 4.5].
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmsforensics.packets.table import NO_TIME, PACKET, PacketBatch, Status

MAX_WAITING: Final = 4096
"""Packets of which fragments are missing; the oldest gives way."""

MAX_BYTES: Final = 16 << 20
"""Bytes that wait."""

MAX_AGE_NS: Final = 30_000_000_000
"""The identification of IPv4 has 16 bits and comes back within seconds at speed; hosts wait 15 to 120 s
[RFC 791 3.2, RFC 8200 4.5]."""

MAX_PIECES: Final = 2048
"""Fragments of one packet: 64 KiB over the smallest link that RFC 791 knows are 1366."""

MAX_FRAMES: Final = 4 * MAX_PIECES
"""Frames of one packet that are remembered, repeated fragments included."""

MAX_ANOMALIES: Final = 100
"""Anomalies told one by one."""

PIECE_OF_PACKET = np.dtype(
    [
        ("at", "i8"),  # position in the packet that was put together
        ("length", "i8"),
        ("frame", "i8"),
        ("frame_offset", "i8"),
    ],
    align=True,
)

Key = tuple[int, int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Piece:
    at: int
    data: bytes
    wire: int
    """Bytes on the wire: more than `data` has where the snapshot length cut it."""
    frame: int
    frame_offset: int

    @property
    def end(self) -> int:
        return self.at + self.wire


@dataclass(slots=True, eq=False)
class _Packet:
    """A packet that is being put together."""

    row: NDArray[np.void]
    """Of the fragment that came last, shape ()."""
    begun: int
    pieces: list[_Piece] = field(default_factory=list)
    """In order, without overlap."""
    length: int | None = None
    """Of the whole payload, once the last fragment is there."""
    proto: int = 0
    size: int = 0
    frames: list[int] = field(default_factory=list)
    """All that were captured of it, those behind a hole and repeated ones as well."""

    @property
    def whole(self) -> bool:
        covered = 0
        for piece in self.pieces:
            if piece.at != covered:
                return False
            covered = piece.end
        return covered == self.length

    def add(self, piece: _Piece) -> str:
        """Lay a fragment where nothing lies yet; returns what is odd about it."""
        odd = ""
        for fresh in self._outside(piece):
            self.pieces.append(fresh)
            self.size += len(fresh.data)
        if self._overlaps(piece):
            odd = "overlaps another"
            if not self._agrees(piece):
                odd = "overlaps another with different bytes"
            elif any(p.frame != piece.frame and p.at <= piece.at and p.end >= piece.end for p in self.pieces):
                odd = ""  # a plain repetition
        self.pieces.sort(key=lambda p: p.at)
        return odd

    def _overlaps(self, piece: _Piece) -> bool:
        return any(p.frame != piece.frame and p.at < piece.end and piece.at < p.end for p in self.pieces)

    def _agrees(self, piece: _Piece) -> bool:
        for p in self.pieces:
            low = max(p.at, piece.at)
            high = min(p.at + len(p.data), piece.at + len(piece.data))
            if (
                low < high
                and p.data[low - p.at : high - p.at] != piece.data[low - piece.at : high - piece.at]
            ):
                return False
        return True

    def _outside(self, piece: _Piece) -> list[_Piece]:
        """The parts of a fragment that no other covers."""
        parts, at = [], piece.at
        for p in self.pieces:
            if p.end <= at:
                continue
            if p.at >= piece.end:
                break
            if p.at > at:
                parts.append(_part(piece, at, p.at))
            at = max(at, p.end)
        if at < piece.end:
            parts.append(_part(piece, at, piece.end))
        return parts

    def joined(self) -> tuple[bytes, NDArray[np.void]]:
        """The bytes up to the first hole, and where they come from."""
        data, origins = bytearray(), []
        for piece in self.pieces:
            if piece.at != len(data):
                break
            data += piece.data
            origins.append((piece.at, len(piece.data), piece.frame, piece.frame_offset))
        return bytes(data), np.array(origins, dtype=PIECE_OF_PACKET)


def _part(piece: _Piece, start: int, stop: int) -> _Piece:
    skip = start - piece.at
    data = piece.data[skip : stop - piece.at]
    return _Piece(start, data, stop - start, piece.frame, piece.frame_offset + skip)


class Fragments:
    """Puts fragments together, batch by batch."""

    def __init__(self) -> None:
        self._waiting: dict[Key, _Packet] = {}
        self._bytes = 0
        self.joined: dict[int, NDArray[np.void]] = {}
        """Packets put together in the last batch: where their bytes come from (dtype `PIECE_OF_PACKET`), by
        the frame number of their row."""
        self.members: dict[int, NDArray[np.int64]] = {}
        """All frames of these packets, by the same number; of what is not `joined` as well."""
        self.incomplete: list[int] = []
        """Frames of the last fragments of packets that were given up in the last batch."""
        self.anomalies: list[tuple[int, str]] = []
        """Frame number, and what is odd about it; at most `MAX_ANOMALIES`."""

    def feed(self, batch: PacketBatch) -> PacketBatch:
        """Return the batch with a row for each packet that is whole now."""
        self.joined, self.members, self.incomplete = {}, {}, []
        if not len(batch.rows) or (not batch.rare and not self._waiting):
            return batch
        places = np.flatnonzero(batch.rows["status"] == Status.FRAGMENT)
        if not len(places) and not self._waiting:
            return batch
        now = int(batch.rows["ts"][0])
        given_up = self._given_up(now)
        finished = [(int(i), packet) for i in places if (packet := self._take(batch, int(i))) is not None]
        return self._with(batch, given_up, finished)

    def finish(self) -> PacketBatch | None:
        """Give up what still waits; returns what is there of it."""
        self.joined, self.members, self.incomplete = {}, {}, []
        left = [packet for key in list(self._waiting) if (packet := self._give_up(key)) is not None]
        if not left:
            return None
        empty = PacketBatch(np.empty(0, dtype=PACKET), np.empty(0, dtype=np.uint8), 0)
        return self._with(empty, left, [])

    def _take(self, batch: PacketBatch, index: int) -> _Packet | None:
        """Add one fragment; returns its packet if that is whole now."""
        row = batch.rows[index]
        key = _key(row)
        packet = self._waiting.get(key)
        if packet is None:
            packet = self._waiting[key] = _Packet(np.array(row), int(row["ts"]))
        piece = _Piece(
            at=int(row["ack"]),
            data=batch.payload(index).tobytes(),
            wire=int(row["payload_wire"]),
            frame=int(row["frame"]),
            frame_offset=int(row["payload"]),
        )
        before = packet.size
        odd = packet.add(piece)
        if len(packet.frames) < MAX_FRAMES:
            packet.frames.append(piece.frame)
        self._bytes += packet.size - before
        if odd and len(self.anomalies) < MAX_ANOMALIES:
            self.anomalies.append((piece.frame, f"an IP fragment {odd}"))
        packet.row = np.array(row)
        if piece.at == 0:
            packet.proto = int(row["proto"])
        if not row["flags"] & 1:
            packet.length = piece.end
        if packet.whole:
            return self._remove(key)
        if len(packet.pieces) > MAX_PIECES:
            self._give_up(key)
        return None

    def _remove(self, key: Key) -> _Packet:
        packet = self._waiting.pop(key)
        self._bytes -= packet.size
        return packet

    def _give_up(self, key: Key) -> _Packet | None:
        """Let a packet go; returns it if its beginning is there."""
        packet = self._remove(key)
        self.incomplete.append(int(packet.row["frame"]))
        return packet if packet.pieces and packet.pieces[0].at == 0 else None

    def _given_up(self, now: int) -> list[_Packet]:
        """What waits no longer: too old, or too much."""
        gone = []
        for key in list(self._waiting):
            begun = self._waiting[key].begun
            old = NO_TIME not in (now, begun) and abs(now - begun) > MAX_AGE_NS
            if not old and len(self._waiting) <= MAX_WAITING and self._bytes <= MAX_BYTES:
                break
            packet = self._give_up(key)
            if packet is not None:
                gone.append(packet)
        return gone

    def _with(
        self, batch: PacketBatch, given_up: list[_Packet], finished: list[tuple[int, _Packet]]
    ) -> PacketBatch:
        """The batch with packets put together: some before it, some in the place of their last fragment."""
        if not given_up and not finished:
            return batch
        data = [batch.data]
        at = batch.base + len(batch.data)
        rows = batch.rows.copy()
        before = np.empty(len(given_up), dtype=PACKET)
        targets = [(before, i, p) for i, p in enumerate(given_up)] + [(rows, i, p) for i, p in finished]
        for array, index, packet in targets:
            joined, origins = packet.joined()
            array[index] = _row(packet, joined, at)
            self.joined[int(packet.row["frame"])] = origins
            self.members[int(packet.row["frame"])] = np.array(packet.frames, dtype=np.int64)
            data.append(np.frombuffer(joined, dtype=np.uint8))
            at += len(joined)
        return PacketBatch(np.concatenate((before, rows)), np.concatenate(data), batch.base)


def _key(row: np.void) -> Key:
    proto = int(row["proto"]) if row["version"] == 4 else 0  # of IPv6 only the first one's counts
    return (
        int(row["src_hi"]),
        int(row["src_lo"]),
        int(row["dst_hi"]),
        int(row["dst_lo"]),
        int(row["version"]),
        proto,
        int(row["seq"]),
    )


def _row(packet: _Packet, joined: bytes, offset: int) -> NDArray[np.void]:
    from mmsforensics.packets.slow import decode_payload  # dpkt is loaded only where it is needed

    row = np.array(packet.row)
    row["offset"], row["caplen"] = offset, len(joined)
    row["wirelen"] = max(len(joined), packet.length or max(p.end for p in packet.pieces))
    row["proto"] = packet.proto
    decode_payload(joined, row)
    return row


class Stitched:
    """Where the bytes of packets put together come from, by the frame number of their rows."""

    def __init__(self) -> None:
        self._origins: dict[int, NDArray[np.void]] = {}

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._origins)

    def keep(self, joined: dict[int, NDArray[np.void]], frames: Iterable[int]) -> None:
        """Keep what some of the packets come from."""
        for frame in frames:
            if frame in joined:
                self._origins[frame] = joined[frame]

    def first_frames(self, frames: NDArray[np.integer]) -> NDArray[np.integer]:
        """The frames in which packets begin that the given ones are rows of."""
        out = frames.copy()
        for i in self._known(frames):
            out[i] = self._origins[int(frames[i])]["frame"][0]
        return out

    def expand(self, rows: NDArray[np.void]) -> NDArray[np.void]:
        """Rows of provenance with those of packets put together turned into rows of real frames.

        Parameters
        ----------
        rows : ndarray
            With fields ``file_offset``, ``length``, ``frame`` and ``frame_offset``.
        """
        known = self._known(rows["frame"])
        if not len(known):
            return rows
        out, done = [], 0
        for i in known.tolist():
            out += [rows[done:i], self._split(rows[i])]
            done = i + 1
        return np.concatenate([*out, rows[done:]])

    def _known(self, frames: NDArray[np.integer]) -> NDArray[np.intp]:
        if not self._origins:
            return np.empty(0, dtype=np.intp)
        return np.flatnonzero(np.isin(frames, np.fromiter(self._origins, dtype=np.int64)))

    def _split(self, row: np.void) -> NDArray[np.void]:
        pieces = self._origins[int(row["frame"])]
        start, stop = int(row["frame_offset"]), int(row["frame_offset"]) + int(row["length"])
        hit = pieces[(pieces["at"] < stop) & (pieces["at"] + pieces["length"] > start)]
        low = np.maximum(hit["at"], start)
        high = np.minimum(hit["at"] + hit["length"], stop)
        out = np.repeat(np.array([row]), len(hit))
        out["file_offset"] = int(row["file_offset"]) + low - start
        out["length"] = high - low
        out["frame"] = hit["frame"]
        out["frame_offset"] = hit["frame_offset"] + low - hit["at"]
        return out


__all__ = ["PIECE_OF_PACKET", "Fragments", "Stitched"]
