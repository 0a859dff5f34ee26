"""RequestPacketListResend: what an MMS client lost itself and asks for again, over UDP [MS-MMSP 2.2.5].

Rules of this file:

* the signature tells; a request that does not hold what it says it holds is `Malformed`, and so is one that
  asks for more packets than the specification allows, or for none.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mmsforensics.protocols.messages import At, Malformed, MmsMessage
from mmsforensics.protocols.mms_layout import MAX_RESENDS, RESEND, RESEND_SIGNATURE, parse_fields
from mmsforensics.streams import Datagrams

SIGNATURE = RESEND_SIGNATURE.to_bytes(4, "little")
BEFORE_FIELDS = 8
"""Bytes of a message before its fields; a request has but its signature there."""


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
