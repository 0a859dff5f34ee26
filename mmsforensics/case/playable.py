"""The playable copy of a medium: made by the ASF room, its bytes traced back through the faithful file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO, RawIOBase
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.asf import Header, PlayableFacts, PlayableResult, needs_playable, write_playable
from mmsforensics.case.writing import CACHED_OF_FILE, HashedFile, give_back
from mmsforensics.protocols.messages import UNKNOWN_LOCATION
from mmsforensics.sessions import PROVENANCE, Origin

# The ASF room's kinds of edits: 0 copied, 1 header repaired, 2 packet field repaired, 3 padding, 4 index.
_KIND = np.array(
    [Origin.CAPTURED, Origin.REPAIRED, Origin.REPAIRED, Origin.PADDING, Origin.INDEX], dtype=np.uint8
)


DECODED = int(Origin.DECODED)


@dataclass(frozen=True, slots=True)
class SalvageFile:
    """Packets saved in part of those that holes have hurt, beside the faithful file."""

    path: Path
    rows: NDArray[np.void]
    """Dtype MEDIA_PACKET; packet i lies at i times the packet size."""
    origins: NDArray[np.void]
    """Dtype PROVENANCE, by offsets in this file."""


class _ReadBehind:
    """A file whose pages are given back to the system behind what was read."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._read = 0

    def seek(self, offset: int, /) -> int:
        """Go to an offset."""
        return self._file.seek(offset)

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill a buffer."""
        got = self._file.readinto(buffer)
        self._read += got or 0
        if self._read >= CACHED_OF_FILE:
            give_back(self._file.fileno())
            self._read = 0
        return got


class _Joined:
    """The faithful file and behind it, from `boundary` on, the packets saved in part."""

    def __init__(self, faithful: RawIOBase, salvaged: RawIOBase, boundary: int) -> None:
        self._files = faithful, salvaged
        self._boundary = boundary
        self._at = 0

    def seek(self, offset: int, /) -> int:
        """Go to an offset."""
        self._at = offset
        return offset

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill a buffer, at most up to the boundary."""
        behind = self._at >= self._boundary
        file = self._files[behind]
        file.seek(self._at - self._boundary if behind else self._at)
        got = file.readinto(buffer if behind else buffer[: self._boundary - self._at])
        self._at += got or 0
        return got


@dataclass(frozen=True, slots=True)
class Made:
    """What came of making a medium playable."""

    reasons: tuple[str, ...]
    """Why the faithful file is not already playable; empty when it is."""
    file: HashedFile | None = None
    header_bytes: bytes = b""
    packets: int = 0
    notes: tuple[str, ...] = ()


def make_playable(
    *,
    faithful: Path,
    faithful_size: int,
    header: Header,
    header_bytes: bytes,
    packets: NDArray[np.void],
    origins: NDArray[np.void],
    out: Callable[[], HashedFile],
    record: Callable[[NDArray[np.void]], None],
    salvaged: SalvageFile | None = None,
    because: tuple[str, ...] = (),
) -> Made:
    """Write the playable copy of a finished faithful file, where one is needed or `because` asks for it.

    `origins` are those of the faithful file's bytes; `record` is given those of the playable one's, both of
    dtype PROVENANCE; `out` is called where it is needed, and begins the file. What was saved of hurt packets
    goes to the playable file alone.
    """
    if not header.packet_size:
        return Made(("packet size unknown: nothing can be repaired",))
    locations = unwrapped(np.ascontiguousarray(packets["location"]).astype(np.int64))
    sizes = np.ascontiguousarray(packets["size"]).astype(np.int64)
    known = not (locations == UNKNOWN_LOCATION).any()
    send = np.ascontiguousarray(packets["send_time_ms"]).astype(np.int64)
    facts = PlayableFacts(
        count=len(packets),
        file_size=faithful_size,
        padded=bool((sizes == header.packet_size).all()),
        ordered=bool((np.diff(locations) > 0).all() if known else (np.diff(send) >= 0).all()),
        has_tail=faithful_size > len(header_bytes) + len(packets) * header.packet_size,
    )
    reasons = (*because, *needs_playable(header, header_bytes, facts))
    if salvaged is None and not reasons:
        return Made(())
    file = out()
    if salvaged is not None:
        number = -(-(faithful_size - len(header_bytes)) // header.packet_size)
        found = _Packets(locations, send, sizes)
        result, taken = _with_salvaged(
            faithful, header_bytes, header.packet_size, number, found, origins, salvaged, file, record
        )
        reasons = (*reasons, *taken)
        return Made(reasons, file, result.header_bytes, result.packets, (*reasons, *result.notes))
    with faithful.open("rb", buffering=0) as source:
        result = write_playable(
            header_bytes,
            _ReadBehind(source) if file.behind else source,
            header_size=len(header_bytes),
            packet_size=header.packet_size,
            sizes=sizes,
            order=presentation_order(locations, send, -sizes),
            out=file,
            tell=lambda edits: record(composed(edits, origins)),
        )
    return Made(
        reasons=reasons,
        file=file,
        header_bytes=result.header_bytes,
        packets=result.packets,
        notes=(*reasons, *result.notes),
    )


@dataclass(frozen=True, slots=True)
class _Packets:
    """What the order of packets depends on, a column each."""

    location: NDArray[np.int64]
    send: NDArray[np.int64]
    size: NDArray[np.int64]


def _with_salvaged(
    faithful: Path,
    header_bytes: bytes,
    packet_size: int,
    number: int,
    whole: _Packets,
    origins: NDArray[np.void],
    salvaged: SalvageFile,
    out: HashedFile,
    record: Callable[[NDArray[np.void]], None],
) -> tuple[PlayableResult, list[str]]:
    """Write the playable copy with the packets saved in part or restored at their places; says which.

    They are numbered from `number` on: behind the faithful file's packets and what else stands in it.
    """
    count, boundary = len(whole.size), len(header_bytes) + number * packet_size
    location, send, saved = (
        salvaged.rows[name].astype(np.int64) for name in ("location", "send_time_ms", "size")
    )
    order = presentation_order(
        unwrapped(np.concatenate((whole.location & 0xFFFFFFFF, location))),
        np.concatenate((whole.send, send)),
        np.concatenate((-whole.size, packet_size + 1 - saved)),  # any whole copy is better
    )
    taken = _taken(salvaged.rows["restored"][order[order >= count] - count])
    between = np.zeros(number - count, dtype=np.int64)
    shifted = np.array(salvaged.origins)
    shifted["file_offset"] += boundary

    def tell(edits: NDArray[np.void]) -> None:
        edits = cut_at(edits, boundary)
        far = edits["source_offset"] >= boundary
        rows = composed(edits[~far], origins)
        if far.any():
            rows = np.concatenate((rows, composed(edits[far], shifted)))
            rows = rows[np.argsort(rows["file_offset"], kind="stable")]
        record(rows)

    with faithful.open("rb", buffering=0) as source, salvaged.path.open("rb", buffering=0) as behind:
        result = write_playable(
            header_bytes,
            _Joined(source, behind, boundary),
            header_size=len(header_bytes),
            packet_size=packet_size,
            sizes=np.concatenate((whole.size, between, saved)),
            order=np.where(order >= count, order + len(between), order),
            out=out,
            tell=tell,
        )
    return result, taken


def _taken(restored: NDArray[np.integer]) -> list[str]:
    """What the packets in a playable file are that stand in no faithful one."""
    computed = int(np.count_nonzero(restored))
    hurt = len(restored) - computed
    said = []
    if hurt:
        said.append(f"of {hurt} packets that holes have hurt, the payloads wholly seen are in it")
    if computed:
        said.append(f"{computed} packets that were not seen are in it, inferred: computed from parity")
    return said


def unwrapped(locations: NDArray[np.int64]) -> NDArray[np.int64]:
    """LocationIds that go on where the numbers of a sender pass 2^32."""
    if not len(locations) or int(locations.max()) - int(locations.min()) < 1 << 31:
        return locations
    return np.where(locations < 1 << 31, locations + (1 << 32), locations)


def cut_at(edits: NDArray[np.void], boundary: int) -> NDArray[np.void]:
    """Edits none of which copies over a place in the source: there another file begins."""
    begin = edits["source_offset"].astype(np.int64)
    over = (begin >= 0) & (begin < boundary) & (begin + edits["length"].astype(np.int64) > boundary)
    if not over.any():
        return edits
    first, second = edits.copy(), edits[over]
    lead = (boundary - begin[over]).astype(edits["length"].dtype)
    first["length"][over] = lead
    second["file_offset"] += lead
    second["source_offset"] = boundary
    second["length"] -= lead
    return np.insert(first, np.flatnonzero(over) + 1, second)


def presentation_order(
    locations: NDArray[np.int64], send: NDArray[np.int64], rank: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Indices of the packets, each once, in presentation order.

    A packet sent again has the same LocationId and send time. Of such, the copy with the lowest rank is
    taken, the one with most bytes: a thinned one has fewer [MS-MMSP 3.2.5.11.1].
    """
    if (locations == UNKNOWN_LOCATION).any():
        locations = by_send_time(send)
    if (np.diff(locations) > 0).all():
        return np.arange(len(locations), dtype=np.int64)
    order = np.lexsort((rank, send, locations))
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = (np.diff(locations[order]) != 0) | (np.diff(send[order]) != 0)
    return order[first]


def by_send_time(send: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers for packets without LocationIds (RTP need not have them), by send time.

    Send times never fall within a play. Of several packets with one send time the first of one play is the
    first of another.
    """
    n = np.arange(len(send), dtype=np.int64)
    begins = np.ones(len(send), dtype=np.bool_)
    begins[1:] = np.diff(send) != 0
    among = n - np.maximum.accumulate(np.where(begins, n, 0))
    order = np.lexsort((among, send))
    new = np.ones(len(order), dtype=np.int64)
    new[1:] = (np.diff(send[order]) != 0) | (np.diff(among[order]) != 0)
    numbers = np.empty(len(send), dtype=np.int64)
    numbers[order] = np.cumsum(new) - 1
    return numbers


def composed(edits: NDArray[np.void], origins: NDArray[np.void]) -> NDArray[np.void]:
    """Origins of the stretches `edits` of a file made from another, given those of the other's bytes."""
    copied = edits["source_offset"] >= 0
    if not copied.any():
        lead = np.empty(0, dtype=PROVENANCE)
    else:
        low = int(edits["source_offset"][copied].min())
        ends = edits["source_offset"][copied] + edits["length"][copied].astype(np.int64)
        starts = origins["file_offset"]
        first = max(int(np.searchsorted(starts, low, side="right")) - 1, 0)
        last = int(np.searchsorted(starts, int(ends.max()), side="left"))
        lead = np.array(origins[first:last])
    out = np.empty(0, dtype=PROVENANCE)
    size = len(edits) * 2 + len(lead) + 16
    while True:
        out = np.empty(size, dtype=PROVENANCE)
        n = _compose(
            edits["file_offset"].astype(np.int64),
            edits["length"].astype(np.int64),
            edits["source_offset"].astype(np.int64),
            _KIND[edits["kind"]],
            lead,
            np.ascontiguousarray(lead["file_offset"]),
            out,
        )
        if n <= size:
            return out[:n].copy()
        size = n


@njit(cache=True, nogil=True)
def _compose(to, length, source, kind, origins, starts, out):
    """Map each edit through `origins`; returns the rows needed, which may be more than `out` holds."""
    n = 0
    for i in range(len(to)):
        at, left, here = source[i], length[i], to[i]
        if at < 0:
            if n < len(out):
                row = out[n]
                row["file_offset"], row["length"] = here, left
                row["frame"], row["frame_offset"], row["kind"] = 0, 0, kind[i]
            n += 1
            continue
        p = np.searchsorted(starts, at, side="right") - 1
        while left > 0 and p < len(starts):
            origin = origins[p]
            skip = at - origin["file_offset"]
            take = min(left, origin["length"] - skip)
            if take > 0:
                if n < len(out):
                    row = out[n]
                    row["file_offset"], row["length"] = here, take
                    row["frame"], row["kind"] = origin["frame"], origin["kind"]
                    if origin["kind"] == DECODED:
                        skip = skip // 3 * 4
                    row["frame_offset"] = origin["frame_offset"] + skip if origin["frame"] else 0
                n += 1
                at, here, left = at + take, here + take, left - take
            p += 1
    return n
