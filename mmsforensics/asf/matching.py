"""Where the payloads of a medium lie in any other bytes: a saved file, part of one, what a carver made.

Rules of this file:

* what is compared is payload data, never headers, padding or packet boundaries: these differ where a client
  has saved the stream with a header of its own, or packed it anew;
* a hash only proposes; every match is compared byte by byte and extended as far as it goes;
* bytes that tell nothing (runs of few values) propose nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.asf.packets import walk_payloads

STRIDE: Final = 256
"""Bytes of a payload between anchors: one that was cut elsewhere is still found from the next anchor on."""

ANCHOR: Final = 16
"""Bytes of an anchor."""

LEAST: Final = 32
"""Bytes that must agree."""

VALUES: Final = 5
"""Different byte values that an anchor must have at least."""

CANDIDATES: Final = 64
"""Anchors with the same bytes that are tried: content that repeats more often is matched where it may be."""

BITS_A_SLOT: Final = 8
"""Bits of the filter for each slot of the table: one byte in sixteen or fewer passes it by chance."""

AT_ONCE: Final = 4 << 20
"""Bytes of packets walked at once."""

PART = np.dtype([("offset", "i8"), ("length", "i8"), ("packet", "i8"), ("stream", "u1")], align=True)
"""The data of a payload in a medium's file, the index of its packet, its stream."""

MATCH = np.dtype([("file_offset", "i8"), ("medium_offset", "i8"), ("length", "i8")], align=True)
"""Bytes of a file that are bytes of a medium."""


@dataclass(frozen=True, slots=True, eq=False)
class PayloadIndex:
    """The payloads of a medium, ready to be looked for."""

    data: NDArray[np.uint8]
    """The medium's file."""
    parts: NDArray[np.void]
    """Its payloads, dtype PART, in the order of the file."""
    anchors: NDArray[np.int64]
    """Offsets of anchors, in the same order."""
    heads: NDArray[np.int32]
    """Hash table: index of the first anchor in each slot, or -1; its length is a power of two."""
    following: NDArray[np.int32]
    """For each anchor the next one in its slot, or -1."""
    seen: NDArray[np.uint8]
    """Bits by another hash, set for every anchor: most bytes that are none are told by one look."""

    @property
    def payload_bytes(self) -> int:
        """Bytes of all payloads."""
        return int(self.parts["length"].sum())

    @property
    def words(self) -> NDArray[np.uint64]:
        """First eight bytes of each anchor, for `places`."""
        words: NDArray[np.uint64] = _words(self.data, self.anchors)
        return words


def payload_index(data: NDArray[np.uint8], size: int, offsets: NDArray[np.int64]) -> PayloadIndex:
    """Index the payloads of a medium.

    Parameters
    ----------
    data : ndarray of uint8
        The file, for example mapped.
    size : int
        Bytes of a data packet.
    offsets : ndarray of int64
        Where its data packets begin.
    """
    found = [np.empty(0, dtype=PART)]
    step = max(AT_ONCE // size, 1) if size else 1
    for begin in range(0, len(offsets) if size else 0, step):
        at = offsets[begin : begin + step]
        _, payloads = walk_payloads(packets_at(data, at, size), size)
        rows = np.empty(len(payloads), dtype=PART)
        rows["offset"] = at[payloads["packet"]] + payloads["at"]
        rows["length"] = payloads["length"]
        rows["packet"] = payloads["packet"] + begin
        rows["stream"] = payloads["stream"]
        found.append(rows)
    parts = np.concatenate(found)
    anchors = _anchors(data, parts)
    slots = 1 << max(int(2 * len(anchors)).bit_length(), 4)
    heads, following, seen = _enter(data, anchors, slots, max(slots * BITS_A_SLOT, 1 << 19))
    return PayloadIndex(data, parts, anchors, heads, following, seen)


def packets_at(data: NDArray[np.uint8], offsets: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """Packets laid one behind the other; those that follow each other already are not copied."""
    begin = int(offsets[0])
    if int(offsets[-1]) - begin == (len(offsets) - 1) * size:
        return np.ascontiguousarray(data[begin : begin + len(offsets) * size])
    gathered: NDArray[np.uint8] = data[offsets[:, None] + np.arange(size)].reshape(-1)
    return gathered


def places(words: NDArray[np.uint64], blob: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mark where in bytes an anchor of one of many media begins: a search for each may look there alone.

    Parameters
    ----------
    words : ndarray of uint64
        `PayloadIndex.words` of all media.
    blob : ndarray of uint8

    Returns
    -------
    ndarray of uint8
        A bit for each byte of `blob`, the lowest first.
    """
    slots = 1 << max(int(4 * len(words)).bit_length(), 6)
    table, seen, zero = _enter_words(words, slots, max(slots * BITS_A_SLOT, 1 << 19))
    marked: NDArray[np.uint8] = _mark(np.ascontiguousarray(blob), table, seen, zero)
    return marked


def find_payloads(
    index: PayloadIndex, blob: NDArray[np.uint8], marked: NDArray[np.uint8] | None = None
) -> NDArray[np.void]:
    """Find a medium's payloads in bytes.

    Parameters
    ----------
    index : PayloadIndex
    blob : ndarray of uint8
    marked : ndarray of uint8, optional
        `places` of the blob for this medium and others; what is found is the same with it.

    Returns
    -------
    ndarray of MATCH
        In the order of `blob`, without overlap in it.
    """
    blob = np.ascontiguousarray(blob)
    room = 1 << 12
    streams = index.parts["stream"].copy()
    while True:
        out = np.empty(room, dtype=MATCH)
        n = _search(
            blob,
            index.data,
            index.parts["offset"].copy(),
            index.parts["length"].copy(),
            streams,
            _next_of_stream(streams),
            index.anchors,
            index.heads,
            index.following,
            index.seen,
            np.empty(0, dtype=np.uint8) if marked is None else marked,
            out,
        )
        if n <= room:
            return out[:n].copy()
        room = n


@njit(cache=True, nogil=True)
def _word(data, at):
    """Eight bytes as a number, little-endian."""
    word = np.uint64(0)
    for k in range(8):
        word |= np.uint64(data[at + k]) << np.uint64(8 * k)
    return word


@njit(cache=True, nogil=True)
def _slot(word, mask):
    return np.int64(((word * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(29)) & np.uint64(mask))


@njit(cache=True, nogil=True)
def _telling(data, at):
    """Whether an anchor has enough different values to mean anything."""
    different = 1
    for i in range(1, ANCHOR):
        new = True
        for k in range(i):
            if data[at + k] == data[at + i]:
                new = False
                break
        if new:
            different += 1
            if different >= VALUES:
                return True
    return False


@njit(cache=True, nogil=True)
def _place(data, parts, out):
    n = 0
    for i in range(len(parts)):
        at = parts[i]["offset"]
        end = at + parts[i]["length"]
        while at + max(ANCHOR, LEAST) <= end:
            if _telling(data, at):
                out[n] = at
                n += 1
            at += STRIDE
        # One at the end, from which what stands behind a cut is found backwards.
        last = end - ANCHOR
        if at - STRIDE < last and parts[i]["length"] >= LEAST and _telling(data, last):
            out[n] = last
            n += 1
    return n


def _anchors(data: NDArray[np.uint8], parts: NDArray[np.void]) -> NDArray[np.int64]:
    room = int((parts["length"] // STRIDE + 2).sum())
    out = np.empty(room, dtype=np.int64)
    return out[: _place(data, parts, out)].copy()


@njit(cache=True, nogil=True)
def _bit(word, mask):
    return np.int64(((word * np.uint64(0xC2B2AE3D27D4EB4F)) >> np.uint64(25)) & np.uint64(mask))


@njit(cache=True, nogil=True)
def _enter(data, anchors, slots, bits):
    """Enter anchors into a table, the first of the file last, so that it is found first."""
    seen = np.zeros(bits // 8, dtype=np.uint8)
    heads = np.full(slots, -1, dtype=np.int32)
    following = np.full(len(anchors), -1, dtype=np.int32)
    for i in range(len(anchors) - 1, -1, -1):
        word = _word(data, anchors[i])
        bit = _bit(word, bits - 1)
        seen[bit >> 3] |= np.uint8(1 << (bit & 7))
        slot = _slot(word, slots - 1)
        following[i] = heads[slot]
        heads[slot] = i
    return heads, following, seen


@njit(cache=True, nogil=True)
def _words(data, anchors):
    out = np.empty(len(anchors), dtype=np.uint64)
    for i in range(len(anchors)):
        out[i] = _word(data, anchors[i])
    return out


@njit(cache=True, nogil=True)
def _enter_words(words, slots, bits):
    """A table of words with open addressing, a filter before it, and whether 0, which is no entry, is one."""
    table = np.zeros(slots, dtype=np.uint64)
    seen = np.zeros(bits // 8, dtype=np.uint8)
    zero = False
    for word in words:
        zero |= word == 0
        bit = _bit(word, bits - 1)
        seen[bit >> 3] |= np.uint8(1 << (bit & 7))
        slot = _slot(word, slots - 1)
        while table[slot] and table[slot] != word:
            slot = (slot + 1) & (slots - 1)
        table[slot] = word
    return table, seen, zero


@njit(cache=True, nogil=True)
def _mark(blob, table, seen, zero):
    out = np.zeros((len(blob) + 7) // 8, dtype=np.uint8)
    mask, bits = len(table) - 1, len(seen) * 8 - 1
    word = np.uint64(0)
    if len(blob) >= 8:
        word = _word(blob, 0)
    for b in range(len(blob) - ANCHOR + 1):
        bit = _bit(word, bits)
        if seen[bit >> 3] & (1 << (bit & 7)):
            slot = _slot(word, mask)
            while table[slot] and table[slot] != word:
                slot = (slot + 1) & mask
            if table[slot] or (zero and word == 0):
                out[b >> 3] |= np.uint8(1 << (b & 7))
        if b + 8 < len(blob):
            word = (word >> np.uint64(8)) | (np.uint64(blob[b + 8]) << np.uint64(56))
    return out


@njit(cache=True, nogil=True)
def _next_marked(marked, b, end):
    """The first marked place from `b` on, or `end`."""
    while b < end:
        rest = marked[b >> 3] >> (b & 7)
        if rest & 1:
            return b
        b = b + 1 if rest else (b | 7) + 1
    return end


@njit(cache=True, nogil=True)
def _extend(blob, b, low, data, m, begin, end):
    """How far bytes agree before and behind a place, inside the payload ``[begin, end)``."""
    back = 0
    while m - back > begin and b - back > low and blob[b - back - 1] == data[m - back - 1]:
        back += 1
    ahead = 0
    while m + ahead < end and b + ahead < len(blob) and blob[b + ahead] == data[m + ahead]:
        ahead += 1
    return back, ahead


@njit(cache=True, nogil=True)
def _tell(out, n, file_offset, medium_offset, length):
    """Write a match if there is room; returns how many there are now."""
    if n < len(out):
        out[n]["file_offset"] = file_offset
        out[n]["medium_offset"] = medium_offset
        out[n]["length"] = length
    return n + 1


@njit(cache=True, nogil=True)
def _same(blob, b, data, m, length):
    k = 0
    while k < length and blob[b + k] == data[m + k]:
        k += 1
    return k == length


@njit(cache=True, nogil=True)
def _before(blob, b, low, data, m, offsets, lengths, k, out, n):
    """Payloads that stand before a match at their distances in the medium: too short or dull for anchors."""
    if m != offsets[k]:
        return n
    first = k
    while first > 0:
        at = b - (m - offsets[first - 1])
        if at < low or not _same(blob, at, data, offsets[first - 1], lengths[first - 1]):
            break
        first -= 1
    for j in range(first, k):
        n = _tell(out, n, b - (m - offsets[j]), offsets[j], lengths[j])
    return n


@njit(cache=True, nogil=True)
def _behind(blob, b, data, m, offsets, lengths, k, out, n):
    """The same of those behind a match; returns how many matches there are, and where both go on."""
    if m != offsets[k] + lengths[k]:
        return n, b, m
    while k + 1 < len(offsets):
        at = b + offsets[k + 1] - m
        if at + lengths[k + 1] > len(blob) or not _same(blob, at, data, offsets[k + 1], lengths[k + 1]):
            break
        k += 1
        n = _tell(out, n, at, offsets[k], lengths[k])
        b, m = at + lengths[k], offsets[k] + lengths[k]
    return n, b, m


@njit(cache=True, nogil=True)
def _next_of_stream(streams):
    """For each payload the next one of its stream, or -1."""
    out = np.full(len(streams), -1, dtype=np.int64)
    last = np.full(256, -1, dtype=np.int64)
    for k in range(len(streams) - 1, -1, -1):
        out[k] = last[streams[k]]
        last[streams[k]] = k
    return out


@njit(cache=True, nogil=True)
def _goes_on(blob, b, data, offsets, lengths, going):
    """The payload that a stream goes on with, if it stands here whole, or -1: content may repeat."""
    best = np.int64(-1)
    for stream in range(len(going)):
        k = going[stream]
        if k < 0 or lengths[k] < LEAST or b + lengths[k] > len(blob):
            continue
        if best >= 0 and lengths[k] <= lengths[best]:
            continue
        if _same(blob, b, data, offsets[k], lengths[k]) and _telling(data, offsets[k]):
            best = k
    return best


@njit(cache=True, nogil=True)
def _search(
    blob, data, offsets, lengths, streams, following_part, anchors, heads, following, seen, marked, out
):
    """Go through a blob; returns the number of matches, of which as many as there is room are written."""
    mask, bits = len(heads) - 1, len(seen) * 8 - 1
    n = 0
    low = 0  # bytes before it belong to the last match
    expected = np.int64(-1)  # where the medium goes on behind the last match
    going = np.full(int(streams.max()) + 1 if len(streams) else 0, -1, dtype=np.int64)
    b = 0
    word = np.uint64(0)
    if len(blob) >= 8:
        word = _word(blob, 0)
    while b + ANCHOR <= len(blob):
        if len(marked):
            b = _next_marked(marked, b, len(blob) - ANCHOR + 1)
            if b + ANCHOR > len(blob):
                break
            word = _word(blob, b)
        bit = _bit(word, bits)
        i = np.int32(-1)
        if seen[bit >> 3] & (1 << (bit & 7)):
            i = heads[_slot(word, mask)]
        best, best_back, best_ahead = np.int64(-1), 0, 0
        tries = 0
        on = _goes_on(blob, b, data, offsets, lengths, going) if i >= 0 else np.int64(-1)
        if on >= 0:
            best, best_ahead, i = offsets[on], lengths[on], np.int32(-1)
        while i >= 0 and tries < CANDIDATES:
            m = anchors[i]
            tries += 1
            if blob[b] == data[m] and blob[b + ANCHOR - 1] == data[m + ANCHOR - 1]:
                k = np.searchsorted(offsets, m, side="right") - 1
                back, ahead = _extend(blob, b, low, data, m, offsets[k], offsets[k] + lengths[k])
                near = best >= 0 and abs(m - expected) < abs(best - expected)
                if back + ahead >= LEAST and (
                    back + ahead > best_back + best_ahead or (back + ahead == best_back + best_ahead and near)
                ):
                    best, best_back, best_ahead = m, back, ahead
            i = following[i]
        if best >= 0:
            k = np.searchsorted(offsets, best, side="right") - 1
            n = _before(blob, b - best_back, low, data, best - best_back, offsets, lengths, k, out, n)
            n = _tell(out, n, b - best_back, best - best_back, best_back + best_ahead)
            n, b, expected = _behind(
                blob, b + best_ahead, data, best + best_ahead, offsets, lengths, k, out, n
            )
            low = b
            while k < len(offsets) and offsets[k] < expected:
                going[streams[k]] = following_part[k]
                k += 1
            if b + 8 <= len(blob):
                word = _word(blob, b)
            continue
        b += 1
        if b + 8 <= len(blob):
            word = (word >> np.uint64(8)) | (np.uint64(blob[b + 7]) << np.uint64(56))
    return n
