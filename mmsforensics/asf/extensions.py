"""Payload extension systems: what replicated data hold beyond an object's size and time [ASF 4.1].

Rules of this file:

* the systems of a stream stand one behind the other in the order of its Extended Stream Properties; a data
  size of 0xFFFF means that two bytes before the data say how many there are;
* bytes that the declared systems leave over, or that end within one, are a row of their own (`UNDECLARED`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.asf.header import Header
from mmsforensics.asf.layout import utf16

VARIABLE = 0xFFFF
UNDECLARED = 255
"""Number in place of a system's for bytes that no declared system explains."""

SYSTEM = np.dtype([("number", "u1"), ("size", "u2")], align=True)
"""A system as the compiled passes need it."""

EXTENSION = np.dtype(
    [
        ("payload", "i8"),  # index of the payload
        ("packet", "i8"),  # index of the packet
        ("at", "u4"),  # offset of the data in the packet
        ("length", "u2"),
        ("stream", "u1"),
        ("system", "u1"),  # index of the system, or UNDECLARED
    ],
    align=True,
)
"""The data of one extension system in one payload."""


@dataclass(frozen=True, slots=True)
class ExtensionSystem:
    """A payload extension system that a stream declares."""

    stream: int
    name: str
    """Its GUID by name, or as text."""
    size: int
    """Bytes in each payload; 0xFFFF when they vary."""
    info: bytes


@dataclass(frozen=True, slots=True)
class Systems:
    """The extension systems of all streams."""

    declared: tuple[ExtensionSystem, ...]
    rows: NDArray[np.void]
    """SYSTEM, grouped by stream."""
    starts: NDArray[np.int64]
    """Shape (129,): where the systems of a stream begin in `rows`."""
    durations: NDArray[np.int64]
    """Shape (128,): the number of the stream's Sample Duration, or -1."""


def extension_systems(header: Header) -> Systems:
    """Collect what the Extended Stream Properties of a header declare; of a stream the first counts."""
    found: dict[int, list[ExtensionSystem]] = {}
    for item in header.walk():
        records = item.fields.get("Payload Extension Systems")
        number = item.fields.get("Stream Number")
        if not isinstance(records, tuple) or not isinstance(number, int) or (number & 0x7F) in found:
            continue
        found[number & 0x7F] = [
            ExtensionSystem(
                number & 0x7F,
                str(r["Extension System ID"]),
                int(r["Extension Data Size"]),
                r["Extension System Info"],
            )
            for r in records
        ]
    declared = tuple(one for stream in sorted(found) for one in found[stream])[:UNDECLARED]
    rows = np.zeros(len(declared), dtype=SYSTEM)
    rows["number"] = np.arange(len(declared))
    rows["size"] = [one.size for one in declared]
    streams = np.array([one.stream for one in declared], dtype=np.int64)
    durations = np.full(128, -1, dtype=np.int64)
    for number, one in reversed(list(enumerate(declared))):
        if one.name == "Sample Duration":
            durations[one.stream] = number
    return Systems(declared, rows, np.searchsorted(streams, np.arange(129)).astype(np.int64), durations)


@njit(cache=True, nogil=True)
def _split(data, begin, length, systems, first, last, out):
    """Find the data of systems ``first:last`` in an extension; returns how many rows of (system, at, length).

    `out` needs a row more than there are systems; positions are those in `data`.
    """
    n = 0
    at, end = begin, begin + length
    for i in range(first, last):
        size = np.int64(systems[i]["size"])
        head = 0
        if size == 0xFFFF:
            if at + 2 > end:
                break
            size, head = np.int64(data[at]) | np.int64(data[at + 1]) << 8, 2
        if at + head + size > end:
            break
        out[n, 0], out[n, 1], out[n, 2] = systems[i]["number"], at + head, size
        at += head + size
        n += 1
    if at < end:
        out[n, 0], out[n, 1], out[n, 2] = 255, at, end - at
        n += 1
    return n


@njit(cache=True, nogil=True)
def _rows(data, packet_size, payloads, first_payload, systems, starts, found, out):
    n = 0
    for p in range(len(payloads)):
        row = payloads[p]
        if row["extension_length"] == 0:
            continue
        base = np.int64(row["packet"]) * packet_size
        stream = np.int64(row["stream"])
        begin = base + np.int64(row["extension_at"])
        length = np.int64(row["extension_length"])
        many = _split(data, begin, length, systems, starts[stream], starts[stream + 1], found)
        for k in range(many):
            one = out[n]
            one["payload"], one["packet"] = first_payload + p, row["packet"]
            one["system"], one["at"], one["length"] = found[k, 0], found[k, 1] - base, found[k, 2]
            one["stream"] = stream
            n += 1
    return n


def extension_rows(
    data: NDArray[np.uint8],
    packet_size: int,
    payloads: NDArray[np.void],
    systems: Systems,
    first_payload: int = 0,
) -> NDArray[np.void]:
    """Split the replicated data of payloads by the systems of their streams.

    Parameters
    ----------
    data : ndarray of uint8, shape (n * packet_size,)
    packet_size : int
        Bytes of a packet.
    payloads : ndarray of PAYLOAD
        As `walk_payloads` found them in `data`.
    systems : Systems
    first_payload : int
        Index of the first payload.

    Returns
    -------
    ndarray of EXTENSION
    """
    spans = np.diff(systems.starts) + 1
    extended = payloads[payloads["extension_length"] > 0]
    room = int(spans[extended["stream"]].sum())
    out = np.empty(room, dtype=EXTENSION)
    found = np.empty((int(spans.max()) + 1, 3), dtype=np.int64)
    n = _rows(data, packet_size, payloads, first_payload, systems.rows, systems.starts, found, out)
    return out[:n]


def extension_value(name: str, raw: bytes) -> str:
    """The data of an extension system as text; what is not understood in hex.

    Parameters
    ----------
    name : str
        Of the system.
    raw : bytes
        Its data in a payload.
    """
    if name == "Sample Duration" and len(raw) == 2:
        return f"{int.from_bytes(raw, 'little')} ms"
    if name == "Timecode" and len(raw) == 14:
        span, code, user, flags = struct.unpack("<HIII", raw)
        digits = f"{code:08x}"
        text = ":".join(digits[i : i + 2] for i in range(0, 8, 2))
        return f"{text} range {span} user bits {user:08x} flags {flags:#x}"
    if name == "Pixel Aspect Ratio" and len(raw) == 2:
        return f"{raw[0]}:{raw[1]}"
    if name == "File Name":
        return utf16(raw)
    if name in ("Content Type", "Output Cleanpoint", "Encryption Sample ID") and len(raw) <= 8:
        return str(int.from_bytes(raw, "little"))
    return raw.hex()
