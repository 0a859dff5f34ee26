"""One TCP connection: reassembly, recognition, decoding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from mmsforensics.protocols import (
    DECODERS,
    ApartDecoder,
    Decoder,
    Message,
    MmsStreamDecoder,
    Protocol,
    Reset,
    detect,
    find_asf_packets,
    find_data_packets,
    find_framing,
    find_interleaved,
    find_pushed,
)
from mmsforensics.protocols.detect import begins, says_request
from mmsforensics.protocols.messages import At, Direction
from mmsforensics.protocols.msbd import said_by_client
from mmsforensics.protocols.raw import holds_file
from mmsforensics.protocols.rtsp import says_client
from mmsforensics.protocols.smb import says_smb, smb_request
from mmsforensics.streams import Conflict, Flow, FlowWatch, Gap, Policy, Predicted, Run, TcpReassembler
from mmsforensics.streams.flow import Endpoint, FlowPackets

FIN, SYN, RST, ACK = 1, 2, 4, 16

RECOGNITION_LIMIT = 1 << 18
"""Bytes of a direction looked at before a connection is known by its structure or given up: a server of MMS
sends a Ping about every 30 s, and four Data packets of the largest size fit."""

Item = Run | Gap | Conflict


class Connection:
    """A TCP connection worth decoding."""

    __slots__ = (
        "_client",
        "_closed",
        "_decoder",
        "_ended",
        "_held",
        "_reset",
        "_reset_untold",
        "_streams",
        "_syn_from",
        "_watch",
        "flow",
        "hopeless",
        "protocol",
    )

    def __init__(self, flow: Flow, watch: FlowWatch, policy: Policy = Policy.FIRST) -> None:
        self.flow = flow
        self._watch = watch
        self.protocol: Protocol | None = None
        self.hopeless = False
        self._streams = (TcpReassembler(policy=policy), TcpReassembler(policy=policy))
        self._held: tuple[list[Item], list[Item]] = ([], [])
        self._client = 0  # the direction in which the client sends
        self._syn_from: int | None = None
        self._decoder: Decoder | None = None
        self._ended = [False, False]
        self._closed = [False, False]
        self._reset = False
        self._reset_untold: tuple[int, int, int] | None = None  # side, frame, time stamp of the first RST

    @property
    def client(self) -> Endpoint:
        """The end that opened the connection."""
        return self.flow.a if self._client == 0 else self.flow.b

    @property
    def server(self) -> Endpoint:
        """The end that was called."""
        return self.flow.b if self._client == 0 else self.flow.a

    @property
    def ended(self) -> bool:
        """Whether both directions have been decoded to their ends."""
        return all(self._ended)

    @property
    def server_decoder(self) -> MmsStreamDecoder | None:
        """What decodes the server's side, if that is MMS and nothing waits to be decoded."""
        decoder = self._decoder
        if not isinstance(decoder, ApartDecoder) or any(self._held):
            return None
        return decoder.server if isinstance(decoder.server, MmsStreamDecoder) else None

    @property
    def predicted(self) -> Predicted | None:
        """What is expected next, if nothing waits and no side has ended."""
        client, server = self._streams[self._client], self._streams[1 - self._client]
        if self._reset or any(self._closed) or any(self._ended) or any(self._held):
            return None
        if client.expected is None or server.expected is None:
            return None
        return Predicted(self._watch, client, server, 1 - self._client)

    def in_order(self, run: Run) -> list[Message]:
        """Take bytes of the server that were put in order elsewhere."""
        self._held[1 - self._client].append(run)
        return list(self._advance(final=False))

    def feed(self, packets: FlowPackets) -> list[Message]:
        """Take packets of this connection, in order of capture."""
        rows = packets.rows
        syn = np.flatnonzero((rows["flags"] & (SYN | ACK)) == SYN)
        if len(syn) and self._syn_from is None:
            self._syn_from = int(packets.direction[syn[0]])
        checks = self._watch.checks(packets)
        doubtful = self._watch.doubtful(checks, packets.direction)
        reset = (rows["flags"] & RST) != 0
        resets = np.flatnonzero(reset if doubtful is None else reset & ~doubtful)
        if len(resets) and not self._reset:
            first = resets[0]
            side, row = int(packets.direction[first]), rows[first]
            self._reset, self._reset_untold = True, (side, int(row["frame"]), int(row["ts"]))
        items: list[list[Item]] = []
        for side in (0, 1):
            mine = np.flatnonzero(packets.direction == side)
            wrong = None if doubtful is None else doubtful[mine]
            stream, start, seen = self._streams[side], packets.start.take(mine), rows.take(mine)
            heard = seen["flags"] if wrong is None else seen["flags"][~wrong]
            self._closed[side] |= bool((heard & FIN).any())
            items.append(stream.push(seen, packets.data, start, wrong))
        self._watch.see(packets, checks, [stream.origin for stream in self._streams])
        for side in (0, 1):  # only now is known what was acknowledged of a hole
            self._held[side].extend(self._watch.items(side, items[side]))
        return list(self._advance(final=False))

    def finish(self) -> list[Message]:
        """Take note that no more packets come."""
        for side in (0, 1):
            left = self._streams[side].finish(self._watch.accepted(side))
            self._held[side].extend(self._watch.items(side, left))
        return list(self._advance(final=True))

    def _advance(self, *, final: bool) -> Iterator[Message]:
        if self.protocol is None and not self._recognise(final=final):
            return
        # The client's side first: whether a response has a body depends on its request.
        for side in (self._client, 1 - self._client):
            held = self._held[side]
            for item in held:
                yield from self._decode(self._speaker(side), item)
            held.clear()
        for side in (self._client, 1 - self._client):
            stream = self._streams[side]
            if not self._ended[side] and (final or stream.finished):
                self._ended[side] = True
                yield from self._end(self._speaker(side), stream)
        if self._reset_untold is not None:
            side, frame, ts = self._reset_untold
            self._reset_untold = None
            yield Reset(at=At(direction=self._speaker(side), offset=0, frame=frame, ts=ts))

    def _speaker(self, side: int) -> Direction:
        return "client" if side == self._client else "server"

    def _decode(self, direction: Direction, item: Item) -> Iterator[Message]:
        assert self._decoder is not None
        match item:
            case Run():
                return self._decoder.feed(direction, item)
            case Gap():
                return self._decoder.gap(direction, item)
            case Conflict():
                return self._decoder.conflict(direction, item)

    def _end(self, direction: Direction, stream: TcpReassembler) -> Iterator[Message]:
        reason: Literal["fin", "reset", "capture ended"] = "capture ended"
        if stream.finished:
            reason = "fin"
        elif self._reset:
            reason = "reset"
        assert self._decoder is not None
        return self._decoder.end(direction, reason, *stream.ending)

    def _recognise(self, *, final: bool) -> bool:
        """Choose the protocol and tell client from server. Returns whether that was possible."""
        over = final or self._over()
        first = [self._first_bytes(side) for side in (0, 1)]
        found = [self._spoken(side, first) for side in (0, 1)]
        protocol = found[0] or found[1] or self._file_transfer(first)
        structure = None
        if protocol is None and (over or max(len(part) for part in first) >= RECOGNITION_LIMIT):
            structure = self._by_structure()
            protocol = structure or self._file_transfer(first, sure=True)
            self.hopeless = protocol is None
            if self.hopeless:
                for held in self._held:
                    held.clear()
        if protocol is None:
            return False
        if protocol is Protocol.RAW:
            self._client = 0 if holds_file(first[1]) else 1  # the server is who sends the file
        elif structure is None:
            self._client = self._client_side(protocol, first)
        self.protocol = protocol
        # Inside a connection whose SYN was not captured the framing has to be found first.
        self._decoder = DECODERS[protocol](
            client_from_start=self._streams[self._client].saw_start,
            server_from_start=self._streams[1 - self._client].saw_start,
        )
        return True

    def _spoken(self, side: int, first: list[bytes]) -> Protocol | None:
        """What a direction speaks.

        Where its beginning was captured and is nothing that is known, as behind what a proxy asks, the other
        side must speak the same: in a capture that is transferred there are messages, too.
        """
        protocol = detect(first[side])
        known = self._streams[side].saw_start and not isinstance(next(iter(self._held[side]), None), Gap)
        sure = not known or begins(first[side])
        if sure or protocol is None or detect(first[1 - side]) is protocol:
            return protocol
        return None

    def _file_transfer(self, first: list[bytes], *, sure: bool = False) -> Protocol | None:
        """Whether a file of Windows Media is carried by a protocol that is not one of its own.

        Of a connection whose beginning was not captured that is believed only when `sure` says that its
        structure is that of no other protocol.
        """
        if any(says_smb(part) for part in first):
            return Protocol.SMB
        for side, part in enumerate(first):
            if (sure or self._streams[side].saw_start) and holds_file(part):
                return Protocol.RAW
        return None

    def _over(self) -> bool:
        """Whether a connection without its SYN ends unrecognised. What waits behind holes is then taken."""
        if any(stream.saw_start for stream in self._streams):
            return False
        spoke = [side for side in (0, 1) if self._held[side] or self._closed[side]]
        over = self._reset or (bool(spoke) and all(self._closed[side] for side in spoke))
        if over:
            for side in (0, 1):
                self._held[side].extend(self._streams[side].finish())
        return over

    def _by_structure(self) -> Protocol | None:
        """Recognise media whose beginning was not captured; the side that sends them is the server's."""
        for side in (0, 1):
            if self._streams[side].saw_start:
                continue
            data = np.frombuffer(self._first_bytes(side), dtype=np.uint8)
            found = None
            if find_pushed(data) >= 0:  # here the client sends
                self._client = side
                return Protocol.HTTP
            if find_interleaved(data) >= 0:
                found = Protocol.RTSP
            elif find_data_packets(data) >= 0:
                found = Protocol.MMS
            elif find_framing(data) is not None or find_asf_packets(data) is not None:
                found = Protocol.HTTP
            if found is not None:
                self._client = 1 - side
                return found
        return None

    def _first_bytes(self, side: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        for item in self._held[side]:
            if isinstance(item, Run) and size < RECOGNITION_LIMIT:
                parts.append(item.data[: RECOGNITION_LIMIT - size].tobytes())
                size += len(parts[-1])
        return b"".join(parts)

    def _client_side(self, protocol: Protocol, first: list[bytes]) -> int:
        if self._syn_from is not None:
            return self._syn_from
        for side in (0, 1):
            said = _said_by_client(protocol, first[side])
            if said is not None:
                return side if said else 1 - side
        # Neither side says: the server is the one with the well-known, that is the lower, port.
        return 0 if self.flow.a.port > self.flow.b.port else 1


def _said_by_client(protocol: Protocol, first: bytes) -> bool | None:
    if protocol is Protocol.HTTP:
        return says_request(first)
    if protocol is Protocol.SMB:
        return smb_request(first)
    if protocol is Protocol.MSBD:
        return said_by_client(first)
    if protocol is Protocol.RTSP:
        return says_client(first)
    at = first.find(b"\xce\xfa\x0b\xb0")
    if at < 4 or len(first) < at + 36:
        return None
    return int.from_bytes(first[at + 34 : at + 36], "little") == 3  # high word of MID
