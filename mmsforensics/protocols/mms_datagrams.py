"""MMS over UDP (MS-MMSP): Data packets, and the client's requests to send some of them again [2.2.5].

Rules of this file:

* each datagram stands for itself: nothing that was lost or cut touches another one;
* the signature tells; a request that does not hold what it says it holds is `Malformed`, and so is one that
  asks for more packets than the specification allows, or for none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mmsforensics.protocols.cut import DATA_HEADER, CutUnit
from mmsforensics.protocols.messages import (
    At,
    DataPackets,
    Direction,
    Hole,
    Malformed,
    Message,
    MmsMessage,
)
from mmsforensics.protocols.mms_framing import blocks, data_packets
from mmsforensics.protocols.mms_layout import MAX_RESENDS, RESEND, RESEND_SIGNATURE, parse_fields
from mmsforensics.streams import Datagrams

SIGNATURE = RESEND_SIGNATURE.to_bytes(4, "little")
BEFORE_FIELDS = 8
"""Bytes of a message before its fields; a request has but its signature there."""


def decode_datagrams(datagrams: Datagrams, direction: Direction) -> Iterator[Message]:
    """Data packets from the UDP datagrams of a flow, one a datagram [3.2.5.11.1].

    A datagram that the capture cut, or of which fragments are missing, is a hole and a `CutPacket`; a request
    to send packets again is a message of the client; what is neither (a probe of another program) is passed
    over.
    """
    pieces = datagrams.pieces
    length = pieces["length"].astype(np.int64)
    start = pieces["offset"].astype(np.int64)
    asked = requests(datagrams.data, start, length)
    for i in np.flatnonzero(asked):
        yield from parse_request(datagrams, int(i))
    long_enough = (length >= DATA_HEADER) & ~asked
    sizes = np.zeros(len(pieces), dtype=np.int64)
    at = start[long_enough]
    sizes[long_enough] = datagrams.data[at + 6].astype(np.int64) | (
        datagrams.data[at + 7].astype(np.int64) << 8
    )
    sound = long_enough & (sizes == length) & (datagrams.wire_length == length)
    for i in np.flatnonzero(long_enough & (sizes > length)):
        frame, ts = int(pieces["frame"][i]), int(pieces["ts"][i])
        if sizes[i] == datagrams.wire_length[i]:
            where = At(direction=direction, offset=0, frame=frame, ts=ts)
            yield Hole(at=where, length=int(sizes[i] - length[i]), packets_cut=1)
        unit = CutUnit(int(start[i]), int(sizes[i]), DATA_HEADER)
        unit.add(int(start[i]), datagrams.data[start[i] : start[i] + length[i]], pieces[i : i + 1])
        packet = unit.packet(direction, "")
        if packet is not None:
            yield replace(packet, reliable=False)
    if not sound.any():
        return
    packets = data_packets(datagrams.data, 0, start[sound], sizes[sound], pieces)
    for block in blocks(packets, datagrams.data, 0, pieces, direction, inferred=False):
        yield DataPackets(
            at=block.at,
            kind="",
            packets=block.packets,
            data=block.data,
            base=0,
            pieces=pieces,
            reliable=False,
        )


def requests(
    data: NDArray[np.uint8], start: NDArray[np.int64], length: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which stretches ``data[start[i]:start[i] + length[i]]`` are requests, by their signature."""
    found = length >= len(SIGNATURE)
    for k, byte in enumerate(SIGNATURE):
        found[found] = data[start[found] + k] == byte
    return found


def parse_request(datagrams: Datagrams, index: int) -> Iterator[MmsMessage | Malformed]:
    """Read the request in one datagram."""
    piece = datagrams.pieces[index]
    begin, length = int(piece["offset"]), int(piece["length"])
    payload = datagrams.data[begin : begin + length].tobytes()
    at = At(direction="client", offset=0, frame=int(piece["frame"]), ts=int(piece["ts"]))
    lead = bytes(BEFORE_FIELDS - len(SIGNATURE))
    fields, missing = parse_fields(RESEND.layout, lead + payload)
    if missing is not None:
        yield _malformed(at, length, f"field {missing} of {RESEND.name}", f"a datagram of {length} bytes")
        return
    count = fields["wNumPackets"]
    if not (isinstance(count, int) and 1 <= count <= MAX_RESENDS):
        yield _malformed(at, length, f"wNumPackets of 1 to {MAX_RESENDS}", f"{count}")
    yield MmsMessage(at=at, mid=RESEND.mid, name=RESEND.name, fields=fields, size=length)


def _malformed(at: At, length: int, expected: str, found: str) -> Malformed:
    where = f" (MS-MMSP {RESEND.section})"
    return Malformed(at=at, length=length, expected=expected + where, found=found)
