"""Files found elsewhere held against the media of a case: which came from which session, and where it breaks.

Rules of this file:

* a file need not be ASF, nor whole: payloads are looked for at every byte of it;
* what agrees are bytes compared, no likeness; how much of a medium that is, is said as a share;
* media with less in common than `LEAST_AGREED` are not named: silence and black look alike everywhere.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmsforensics.asf import (
    MATCH,
    Reason,
    find_payloads,
    parse_header,
    payload_index,
    places,
    walk_packets,
    walk_payloads,
)
from mmsforensics.case.folder import Case
from mmsforensics.protocols.detect import ASF_HEADER_GUID
from mmsforensics.sessions import pad

LEAST_AGREED: Final = 1024
"""Bytes that a file and a medium must have in common."""

MATCHED_KINDS: Final = ("faithful", "packets", "merged")

MANY_MEDIA: Final = 3
"""Media from which on it pays to go through all of them first."""

MAX_BREAKS: Final = 100
"""Breaks described one by one."""

HEADER_LIMIT: Final = 1 << 26
"""Bytes of a file's beginning that may be its header."""

WALKED_AT_ONCE: Final = 4 << 20
"""Bytes of a file's packets walked at once."""

SHOWN: Final = 16
"""Foreign bytes shown in hex."""

MOST_COMMON: Final = 3
"""Sizes of stretches of foreign bytes that are told."""


@dataclass(frozen=True, slots=True)
class Break:
    """A place where a file does not go on as the medium does."""

    file_offset: int
    packet: int
    """Number in the medium's file of the packet that is next there, from 0."""
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class MediumMatch:
    """What a file and a medium have in common."""

    media_id: str
    session_id: str
    url: str
    same_file: bool
    """Whether a file of the medium has the same SHA-256."""
    agreed: int
    """Payload bytes of the medium that are in the file."""
    payload_bytes: int
    """Payload bytes of the medium."""
    packets: int
    packets_whole: int
    """Packets of the medium of which every payload byte is in the file."""
    ordered: bool
    """Whether each stream stands in the file in the order of the medium."""
    breaks: tuple[Break, ...]
    """At most `MAX_BREAKS`."""
    break_count: int
    matches: NDArray[np.void]
    """Dtype MATCH."""
    of_file: int = 0
    """Payload bytes of the file, where it is ASF, that are the medium's."""

    @property
    def share(self) -> float:
        """Of the medium's payload bytes, those in the file."""
        return self.agreed / self.payload_bytes if self.payload_bytes else 0.0

    def foreign(self, blob: NDArray[np.uint8]) -> tuple[str, ...]:
        """Say what stands between payloads in a file (its bytes) that does not stand there in the medium.

        That a carver left in: headers of frames, of TCP, of the streaming protocol.
        """
        matches = self.matches
        behind = matches["file_offset"][:-1] + matches["length"][:-1]
        in_file = matches["file_offset"][1:] - behind
        in_medium = matches["medium_offset"][1:] - matches["medium_offset"][:-1] - matches["length"][:-1]
        extra = np.where(in_medium >= 0, in_file - in_medium, 0)
        said = []
        for size, count in Counter(extra[extra > 0].tolist()).most_common(MOST_COMMON):
            at = int(behind[np.flatnonzero(extra == size)[0]])
            shown = blob[at : at + min(size, SHOWN)].tobytes().hex(" ")
            said.append(
                f"{count} times {size} bytes between payloads that are not the medium's, first at {at}: "
                f"{shown}"
            )
        return tuple(said)


@dataclass(frozen=True, slots=True)
class FileMatch:
    """A file, what is wrong with it, and the media that it has something of."""

    path: str
    size: int
    sha256: str
    payload_bytes: int
    """Payload bytes of its data packets, as far as it begins with an ASF header; 0 where it does not."""
    problems: tuple[str, ...]
    """Why players may not play it."""
    media: tuple[MediumMatch, ...]
    """The one with most in common first."""


def match(case: Case, files: Iterable[str | os.PathLike[str]]) -> list[FileMatch]:
    """Tie files to the media of a case.

    Parameters
    ----------
    case : Case
    files : iterable of paths
        Recordings found on a disk, whole or partial, saved by whatever program; what a carver made. Of a
        folder all files in it and below, in the order of their names; links in it are not followed.

    Returns
    -------
    list of FileMatch
        For each file, in the order given.

    Raises
    ------
    OSError
        A file cannot be read.
    """
    paths = [path for file in files for path in _files_of(Path(file))]
    hashes = [_sha256(path) for path in paths]
    found: list[list[MediumMatch]] = [[] for _ in paths]
    rows = case.table("media").to_pylist()
    urls = {row["session_id"]: row["url"] for row in case.table("sessions").to_pylist()}
    wanted = [row for row in rows if row["kind"] in MATCHED_KINDS and row["packets"]]
    twins: dict[str, set[str]] = {}  # hashes of the files of one medium
    for row in rows:
        twins.setdefault(_stem(row), set()).add(row["sha256"])
    marked = _marked(case, wanted, paths)
    for row in wanted:
        medium = _Medium(case, row)
        for number, path in enumerate(paths):
            same = hashes[number] in twins[_stem(row)]
            url = urls.get(row["session_id"], "")
            agreed = medium.held_against(mapped(path), url, marked[number], same=same)
            if same or agreed.agreed >= LEAST_AGREED:
                found[number].append(agreed)
    return [
        _file_match(path, sha256, media) for path, sha256, media in zip(paths, hashes, found, strict=True)
    ]


def _stem(row: dict[str, object]) -> str:
    """What the identifiers of a medium's files have in common."""
    return str(row["media_id"]).rpartition("-")[0]


def _files_of(path: Path) -> Iterator[Path]:
    """A file itself, or the regular files in a folder and below."""
    if not path.is_dir():
        yield path
        return
    for folder, below, names in os.walk(path):
        below.sort()
        for name in sorted(names):
            found = Path(folder, name)
            if found.is_file() and not found.is_symlink():
                yield found


def _file_match(path: Path, sha256: str, media: list[MediumMatch]) -> FileMatch:
    blob = mapped(path)
    payload_bytes, shares = _explained(blob, [m.matches for m in media])
    told = [replace(m, of_file=share) for m, share in zip(media, shares, strict=True)]
    return FileMatch(
        path=os.fspath(path),
        size=len(blob),
        sha256=sha256,
        payload_bytes=payload_bytes,
        problems=tuple(unplayable(blob)),
        media=tuple(sorted(told, key=lambda m: (not m.same_file, -m.agreed))),
    )


def _explained(blob: NDArray[np.uint8], media: list[NDArray[np.void]]) -> tuple[int, list[int]]:
    """Payload bytes of an ASF file, and how many of them each list of matches covers."""
    total, shares = 0, [0] * len(media)
    ends = [np.concatenate(([0], np.cumsum(matches["length"]))) for matches in media]
    for begin, length in _payloads_of(blob):
        total += int(length.sum())
        for i, matches in enumerate(media):
            before = _covered_before(matches, ends[i], begin)
            shares[i] += int((_covered_before(matches, ends[i], begin + length) - before).sum())
    return total, shares


def _covered_before(
    matches: NDArray[np.void], ends: NDArray[np.int64], at: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Bytes of matches that stand before each place; `ends` are their sums."""
    if not len(matches):
        return np.zeros(len(at), dtype=np.int64)
    which = np.maximum(np.searchsorted(matches["file_offset"], at, side="right") - 1, 0)
    reached = np.clip(at - matches["file_offset"][which], 0, matches["length"][which])
    covered: NDArray[np.int64] = ends[which] + reached
    return covered


def _payloads_of(blob: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Offsets and lengths of the payloads of a file that begins as ASF, some packets at a time."""
    if blob[: len(ASF_HEADER_GUID)].tobytes() != ASF_HEADER_GUID:
        return
    header = parse_header(blob[:HEADER_LIMIT].tobytes())
    size, begin = header.packet_size, header.data_offset
    if not size or not begin:
        return
    count = (len(blob) - begin) // size
    if header.data_packets and not header.broadcast:
        count = min(count, header.data_packets)
    step = max(WALKED_AT_ONCE // size, 1)
    for first in range(0, count, step):
        at = begin + first * size
        part = np.ascontiguousarray(blob[at : at + min(step, count - first) * size])
        _, payloads = walk_payloads(part, size)
        yield at + payloads["packet"] * size + payloads["at"], payloads["length"].astype(np.int64)


def _marked(case: Case, rows: list[dict[str, object]], paths: list[Path]) -> list[NDArray[np.uint8] | None]:
    """For each file where something of any medium may be: a file is gone through once, not once a medium."""
    if len(rows) < MANY_MEDIA:
        return [None] * len(paths)
    words = np.unique(np.concatenate([_Medium(case, row).words for row in rows]))
    return [places(words, mapped(path)) for path in paths]


class _Medium:
    """A medium of the case, indexed."""

    def __init__(self, case: Case, row: dict[str, object]) -> None:
        import pyarrow.dataset as ds

        self._row = row
        wanted = ds.field("media_id") == row["media_id"]
        packets = case.arrow("media_packets").to_table(filter=wanted, columns=["file_offset", "size"])
        offsets, sizes = (np.asarray(packets[n]).astype(np.int64) for n in ("file_offset", "size"))
        data = mapped(case.path / str(row["path"]))
        size = int(sizes.max())
        if row["kind"] == "packets":
            data = _laid(data, offsets, sizes, size)
            offsets = np.arange(len(sizes)) * size
        else:
            size = parse_header(data[:HEADER_LIMIT].tobytes()).packet_size or size
        offsets = offsets[offsets + size <= len(data)]
        self._index = payload_index(data, size, offsets)

    @property
    def words(self) -> NDArray[np.uint64]:
        """What its anchors begin with."""
        return self._index.words

    def held_against(
        self, blob: NDArray[np.uint8], url: str, marked: NDArray[np.uint8] | None, *, same: bool
    ) -> MediumMatch:
        """What a file has of it; `marked` says where it may have something."""
        matches = find_payloads(self._index, blob, marked)
        parts = self._index.parts
        covered = _covered(parts, matches)
        whole = np.ones(int(parts["packet"].max()) + 1 if len(parts) else 0, dtype=np.bool_)
        whole[parts["packet"][covered < parts["length"]]] = False
        breaks = _breaks(parts, covered, matches, len(blob))
        return MediumMatch(
            media_id=str(self._row["media_id"]),
            session_id=str(self._row["session_id"]),
            url=url,
            same_file=same,
            agreed=int(covered.sum()),
            payload_bytes=self._index.payload_bytes,
            packets=int(str(self._row["packets"])),
            packets_whole=int(np.count_nonzero(whole)),
            ordered=not any(" goes back " in b.text for b in breaks),
            breaks=tuple(breaks[:MAX_BREAKS]),
            break_count=len(breaks),
            matches=matches,
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mapped(path: Path) -> NDArray[np.uint8]:
    """Return the bytes of a file, mapped."""
    if not path.stat().st_size:
        return np.empty(0, dtype=np.uint8)
    return np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)


def _laid(
    data: NDArray[np.uint8], offsets: NDArray[np.int64], sizes: NDArray[np.int64], size: int
) -> NDArray[np.uint8]:
    """Packets without a header, padded to one size."""
    out = np.empty(len(offsets) * size, dtype=np.uint8)
    pad(data, offsets, sizes, size, out)
    return out


def _covered(parts: NDArray[np.void], matches: NDArray[np.void]) -> NDArray[np.int64]:
    """Bytes of each payload that are in the file, none counted twice."""
    by_place = np.sort(matches, order=["medium_offset", "length"])
    begins = by_place["medium_offset"]
    ends = begins + by_place["length"]
    reached = np.maximum.accumulate(np.concatenate(([-1], ends[:-1]))) if len(ends) else ends
    fresh = np.maximum(ends - np.maximum(begins, reached), 0)
    which = np.searchsorted(parts["offset"], begins, side="right") - 1
    covered = np.zeros(len(parts), dtype=np.int64)
    np.add.at(covered, which, fresh)
    return covered


def _breaks(
    parts: NDArray[np.void], covered: NDArray[np.int64], matches: NDArray[np.void], size: int
) -> list[Break]:
    """Where the file leaves the medium, in the order of the file; each stream by itself.

    Streams may be interleaved in another way by a program that packed them anew.
    """
    of_match = parts["stream"][_parts_of(parts, matches)]
    found: list[Break] = []
    for stream in np.unique(of_match).tolist():
        mine = parts["stream"] == stream
        found += _stream_breaks(stream, parts[mine], covered[mine], matches[of_match == stream], size)
    return sorted(found, key=lambda b: (b.file_offset, b.packet))


def _parts_of(parts: NDArray[np.void], matches: NDArray[np.void]) -> NDArray[np.int64]:
    """Index of the payload that each match is of."""
    return np.searchsorted(parts["offset"], matches["medium_offset"], side="right") - 1


def _stream_breaks(
    stream: int, parts: NDArray[np.void], covered: NDArray[np.int64], matches: NDArray[np.void], size: int
) -> Iterator[Break]:
    which = _parts_of(parts, matches)
    packets = parts["packet"][which].tolist()
    lacking = np.concatenate(([0], np.cumsum(parts["length"] - covered)))
    back = np.flatnonzero(np.diff(matches["medium_offset"]) < 0) + 1
    for i in back.tolist():
        text = f"stream {stream} goes back from packet {packets[i - 1]} to packet {packets[i]} of the medium"
        yield Break(int(matches["file_offset"][i]), packets[i], text)
    lost = lacking[which[1:]] - lacking[which[:-1]]
    for i in (np.flatnonzero(lost > 0) + 1).tolist():
        where = f"packets {packets[i - 1]} to {packets[i]}"
        text = f"{lost[i - 1]} bytes of stream {stream} in {where} are not found"
        yield Break(int(matches["file_offset"][i]), packets[i], text)
    first, last = int(which.min()), int(which.max())
    if lacking[first]:
        text = f"stream {stream} begins with packet {int(parts['packet'][first])} of the medium"
        yield Break(int(matches["file_offset"][0]), int(parts["packet"][first]), text)
    after = int(lacking[-1] - lacking[last + 1])
    if after:
        packet = int(parts["packet"][last])
        text = f"stream {stream} ends with packet {packet} of the medium, {after} bytes of it before its end"
        yield Break(size, packet, text)


def unplayable(blob: NDArray[np.uint8]) -> Iterator[str]:
    """Say why players may not play a file, as far as its bytes tell."""
    head = blob[:HEADER_LIMIT].tobytes()
    at = head.find(ASF_HEADER_GUID)
    if at < 0:
        yield "there is no ASF header: nothing says what codecs its streams have"
        return
    if at:
        yield f"the ASF header stands at {at}, not at the beginning"
        head, blob = head[at:], blob[at:]
    header = parse_header(head)
    yield from (
        f"header, offset {at + p.offset}: expected {p.expected}, found {p.found}" for p in header.problems
    )
    size, begin = header.packet_size, header.data_offset
    if not size:
        yield "the header states no packet size that can be believed"
        return
    if not begin:
        yield "no Data Object follows the header"
        return
    count = (len(blob) - begin) // size
    if header.data_packets and not header.broadcast:
        if count < header.data_packets:
            yield f"{header.data_packets} packets are declared, and there is room for {count}"
        count = min(count, header.data_packets)
    yield from _unsound(blob[begin : begin + count * size], size, at + begin)


def _unsound(data: NDArray[np.uint8], size: int, begin: int) -> Iterator[str]:
    step = max(WALKED_AT_ONCE // size, 1)
    bad, first = 0, ""
    for at in range(0, len(data) // size, step):
        heads = walk_packets(np.ascontiguousarray(data[at * size : (at + step) * size]), size)
        wrong = np.flatnonzero(heads["ok"] == 0)
        if len(wrong) and not bad:
            number = at + int(wrong[0])
            reason = Reason(int(heads["reason"][wrong[0]])).name.lower().replace("_", " ")
            first = f"the first is packet {number} at {begin + number * size} ({reason})"
        bad += len(wrong)
    if bad:
        yield f"{bad} of {len(data) // size} packets do not parse: {first}"


__all__ = ["MATCH", "Break", "FileMatch", "MediumMatch", "mapped", "match", "unplayable"]
