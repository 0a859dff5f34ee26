"""What can be saved of a data packet that was not wholly captured.

Rules of this file:

* a payload is saved when every byte of it was seen, its header included; a compressed payload, which holds
  several small objects, is one payload here;
* a payload is found only through the headers of those before it: where one of these was not seen, the
  rest cannot be told;
* what is made is a data packet without padding, as servers send it: `restore_padding` makes it whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsforensics.asf.packets import walk_packets, walk_payloads
from mmsforensics.asf.padding import restore_padding

NEW = -1

MAX_PACKET = 65535
"""Bytes of a packet at most, as in `walk_packets`: what a header claims must not be allocated unseen."""

_WIDTHS = (0, 1, 2, 4)
_COUNT_MASK, _LENGTH_TYPE = 0x3F, 0xC0


@dataclass(frozen=True, slots=True)
class Salvaged:
    """A packet with the payloads that were wholly seen."""

    data: NDArray[np.uint8]
    """The packet, its padding stripped."""
    source: NDArray[np.int64]
    """For each byte its place in the hurt packet, `NEW` where it was written anew."""
    payloads: int


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the fields of a hurt packet stand [ASF 5.2.2]."""

    flags_at: int
    length_at: int
    padding_at: int
    body_at: int
    several: bool
    """Whether it is a packet of multiple payloads."""
    end: int
    """Behind the last payload."""


def salvage(data: NDArray[np.uint8], known: Sequence[tuple[int, int]], packet_size: int) -> Salvaged | None:
    """Save what was wholly seen of a packet.

    Parameters
    ----------
    data : ndarray of uint8
        The packet as it was sent, zero where it was not seen.
    known : sequence of (int, int)
        Begin and end of what was seen.
    packet_size : int
        Bytes of a packet by the header.

    Returns
    -------
    Salvaged or None
        None when no payload was wholly seen, or the packet is larger than the header allows.
    """
    if not len(data) <= packet_size <= MAX_PACKET:
        return None
    seen = np.zeros(len(data), dtype=np.bool_)
    for begin, end in known:
        seen[begin:end] = True
    layout = _layout(data, packet_size)
    if layout is None or not seen[: layout.body_at + layout.several].all():
        return None
    kept = [span for span in _payloads(data.tobytes(), seen, layout) if seen[span[0] : span[1]].all()]
    if not kept:
        return None
    source = _sources(layout, kept)
    made = data[source]
    if layout.several:
        made[layout.body_at] = len(kept) | (made[layout.body_at] & _LENGTH_TYPE)
    _write(made, layout.length_at, _WIDTHS[(made[layout.flags_at] >> 5) & 3], len(made))
    _write(made, layout.padding_at, _WIDTHS[(made[layout.flags_at] >> 3) & 3], 0)
    source[made != data[source]] = NEW
    return Salvaged(made, source, len(kept)) if _sound(made, packet_size) else None


def _layout(data: NDArray[np.uint8], packet_size: int) -> _Layout | None:
    """Read the head; what it says of its end is meant at the size sent or at the full one."""
    size = len(data)
    full = np.zeros(packet_size, dtype=np.uint8)
    full[:size] = data
    (head,) = walk_packets(full, packet_size)
    body_at = int(head["body_at"])
    if not 0 < body_at < size:
        return None
    flags_at = int(head["flags_at"])
    flags = int(data[flags_at])
    end = size
    if not head["ok"] or packet_size - int(head["padding"]) != size:
        raw = data[:body_at].tobytes()
        length = _read(raw, int(head["length_at"]), _WIDTHS[(flags >> 5) & 3])
        padding = _read(raw, int(head["padding_at"]), _WIDTHS[(flags >> 3) & 3])
        end = (min(size, length) if length else size) - padding
    if end <= body_at:
        return None
    return _Layout(
        flags_at, int(head["length_at"]), int(head["padding_at"]), body_at, several=bool(flags & 1), end=end
    )


def _payloads(raw: bytes, seen: NDArray[np.bool_], layout: _Layout) -> Iterator[tuple[int, int]]:
    """Begin and end of each payload, as far as their headers were seen [ASF 5.2.3]."""
    kinds = raw[layout.flags_at + 1]
    replicated_width = _WIDTHS[kinds & 3]
    fixed = 1 + _WIDTHS[(kinds >> 4) & 3] + _WIDTHS[(kinds >> 2) & 3] + replicated_width
    at, count, length_width = layout.body_at, 1, 0
    if layout.several:
        count, length_width = raw[at] & _COUNT_MASK, _WIDTHS[raw[at] >> 6]
        at += 1
    for _ in range(count):
        begin, at = at, at + fixed
        if at > layout.end or not seen[begin:at].all():
            return
        at += _read(raw, at - replicated_width, replicated_width) + length_width
        if at > layout.end or not seen[begin:at].all():
            return
        at = at + _read(raw, at - length_width, length_width) if length_width else layout.end
        if at > layout.end:
            return
        yield begin, at


def _sources(layout: _Layout, kept: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Places in the hurt packet of the bytes of the new one."""
    head = np.arange(layout.body_at + layout.several, dtype=np.int64)
    return np.concatenate((head, *(np.arange(begin, end, dtype=np.int64) for begin, end in kept)))


def _sound(made: NDArray[np.uint8], packet_size: int) -> bool:
    """Whether the new packet is one that a reader takes."""
    full = np.zeros(packet_size, dtype=np.uint8)
    full[: len(made)] = made
    restored = restore_padding(full, packet_size, np.array([len(made)], dtype=np.int64))
    heads, _ = walk_payloads(full, packet_size)
    return bool(restored["ok"][0] and heads["ok"][0])


def _read(raw: bytes, at: int, width: int) -> int:
    return int.from_bytes(raw[at : at + width], "little")


def _write(data: NDArray[np.uint8], at: int, width: int, value: int) -> None:
    data[at : at + width] = np.frombuffer(value.to_bytes(8, "little")[:width], dtype=np.uint8)
