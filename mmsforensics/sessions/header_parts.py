"""An ASF file header put together from the Data packets, or the text, that bring it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmsforensics.asf.tree import DATA_OBJECT_HEAD
from mmsforensics.protocols import DataPackets
from mmsforensics.protocols.detect import ASF_HEADER_GUID
from mmsforensics.streams import PIECE

MAX_HEADER = 16 << 20
"""Bytes of a header that are put together; larger ones are hostile."""

OBJECT_FRAME = 24
"""Bytes of an object's GUID and size [ASF 2.2]."""

MAX_FRAGMENTS = 1 << 16
"""Fragments of a header that are kept, as many as a header of the largest size in packets of 256 bytes has:
each costs far more memory than it has bytes, which may be none."""


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
        # A streamed header ends with the first 50 bytes of the Data Object [MS-MMSP 2.2.2].
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
