"""Headers lent by media of the same content to media whose header was not captured.

Rules of this file:

* only a medium of the same server address lends; packet sizes, stream numbers, LocationIds and send times
  must fit its header, every packet must parse, and no packet with the same LocationId may contradict;
* `proven` is a header of a medium that has a packet with the same LocationId and the same bytes; where none
  has, a header is borrowed only if no other one fits (`consistent`), its packet size is reached by a packet,
  and no other URL is known;
* where none is lent, and every media object begins with a frame of MPEG audio of one format, a header is made
  of what these frames say (`synthesised`); media of other codecs stay without one, and say so;
* a medium to which a station file gave a header when it had long begun is lent that one, if its packets fit;
* of the lenders with one header those are compared whose packets have most of the borrower's numbers, and no
  more than a few: what hundreds of viewers left is not compared pair by pair. A header of which no lender
  could be compared is one more that may fit;
* sessions come in any order, so this is done when all are known, and the lent bytes keep the lender's frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Protocol as Interface
from urllib.parse import urlsplit

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.asf import Header, MpegAudio, mpeg_audio, mpeg_audio_header, parse_header, walk_payloads
from mmsforensics.asf.header import MAX_PACKET_SIZE
from mmsforensics.protocols.messages import UNKNOWN_LOCATION
from mmsforensics.sessions import PROVENANCE, Origin, SessionSummary, pad

if TYPE_CHECKING:
    from mmsforensics.case.media_files import MediumFile

PACKETS_AT_ONCE = 512
"""Packets parsed at once: at most 32 MiB of them."""

LEAST_OBJECTS = 4
"""Media objects that must begin with a frame of MPEG audio."""

NEVER = 1 << 32
"""Behind all presentation times."""

LENDERS_COMPARED = 8
"""Lenders with the same header that a borrower is compared with."""

COMPARISONS = 256
"""Lenders that a borrower is compared with in all: a server may have hundreds of contents."""

TELLING = 32
"""Bytes that a packet must have for its being the same to prove anything."""

NO_HEADER = "not playable: no other medium shows a header that fits, and packets do not name their codecs"
"""Note of a medium to which none is lent: nothing that a player needs to know is guessed."""

SLACK_MS = 10_000
"""Send times may exceed what the header declares by this: encoders round, and count the preroll or do not."""


class Lender(Interface):
    """Who lends a header."""

    @property
    def media_id(self) -> str:
        """What it is called."""

    @property
    def header_bytes(self) -> bytes:
        """The header."""

    def origin_rows(self) -> NDArray[np.void]:
        """Where its bytes come from, dtype PROVENANCE; what lies behind the header does not count."""


@dataclass(frozen=True, slots=True)
class StationHeader:
    """A header that a station file gave, or with an origin of its own one that was made."""

    media_id: str
    header_bytes: bytes
    origin: Origin = Origin.DECODED

    def origin_rows(self) -> NDArray[np.void]:
        """No frame holds its bytes: they came as text, or were made."""
        return np.array([(0, len(self.header_bytes), 0, 0, self.origin)], dtype=PROVENANCE)


@dataclass(frozen=True, slots=True)
class Loan:
    """A header found for a medium."""

    lender: Lender
    proof: str
    """`proven`, `consistent`, `station file` or `synthesised`."""
    note: str


@dataclass(frozen=True, slots=True)
class Lenders:
    """Media with the same header, from the same server."""

    media: list[MediumFile]
    ranges: dict[str, NDArray[np.int64]]
    """Least and largest LocationId and send time of each one's packets, shape (media, 2)."""

    def likely(self, borrower: MediumFile, count: int) -> list[MediumFile]:
        """Those that may have packets with the borrower's numbers, or of many those that may have most."""
        rows = borrower.packet_rows()
        if not len(rows):
            return []
        key = _key(rows)
        least, largest = _range(rows, key)
        common = np.minimum(self.ranges[key][:, 1], largest) - np.maximum(self.ranges[key][:, 0], least)
        order = np.argsort(-common, kind="stable")
        return [self.media[i] for i in np.sort(order[common[order] >= 0][:count])]


class Lending:
    """Keeps the media of a case until headers can be lent."""

    def __init__(self) -> None:
        self._media: list[MediumFile] = []
        self._of_servers: dict[bytes, list[Lenders]] | None = None
        self._places: dict[str, tuple[bytes, str]] = {}

    def keep(self, medium: MediumFile) -> None:
        """Take note of a finished medium."""
        self._media.append(medium)

    @property
    def media(self) -> Sequence[MediumFile]:
        """What is kept."""
        return self._media

    def session(self, session_id: str, summary: SessionSummary) -> None:
        """Take note of where a session's media came from."""
        self._places[session_id] = summary.server_ip, _path(summary.url)

    def finish(self) -> None:
        """Lend headers, and let go of what was kept."""
        for medium in self._media:
            loan = self._loan(medium) if medium.kind == "packets" else None
            if loan is not None:
                medium.play_with(loan.lender, loan.proof, loan.note)
            elif medium.kind == "packets":
                medium.note(NO_HEADER)
        for medium in self._media:
            medium.remove_spools()
        self._media.clear()
        self._of_servers = None

    def _loan(self, borrower: MediumFile) -> Loan | None:
        header, source = borrower.late_header
        if header and Fitting(borrower).fits(parse_header(header)):
            note = "it came when more packets waited for it than are held"
            return Loan(StationHeader(source, header), "station file", note)
        consistent: list[MediumFile] = []
        proven: list[tuple[int, MediumFile]] = []
        fitting, left = Fitting(borrower), COMPARISONS
        for group in self._lenders(borrower):
            lenders = group.media
            if not fitting.fits(parse_header(lenders[0].header_bytes)):
                continue
            chosen = group.likely(borrower, min(LENDERS_COMPARED, left))
            left -= len(chosen)
            compared = [_compared(borrower, lender) for lender in chosen]
            best = max(range(len(chosen)), key=lambda i: (compared[i][1] == 0, compared[i][0]), default=None)
            agree, differ = (0, 0) if best is None else compared[best]
            if best is not None and agree and not differ:
                proven.append((agree, chosen[best]))
            elif not any(d for _, d in compared) and self._likely(borrower, lenders):
                consistent.append(lenders[0])
        if proven:
            count, lender = max(proven, key=lambda p: p[0])
            return Loan(lender, "proven", f"{count} packets with the same numbers have the same bytes there")
        if len(consistent) == 1:
            return Loan(consistent[0], "consistent", "not proven: all fits it, and no other header seen does")
        return _synthesised(borrower)

    def _lenders(self, borrower: MediumFile) -> list[Lenders]:
        """Media with a header from the same server, those with the same header together."""
        if self._of_servers is None:
            self._of_servers = self._grouped()
        server, _ = self._places[borrower.session_id]
        return self._of_servers.get(server, [])

    def _grouped(self) -> dict[bytes, list[Lenders]]:
        by_server: dict[bytes, dict[bytes, list[MediumFile]]] = {}
        for medium in self._media:
            if medium.header_bytes:
                server, _ = self._places[medium.session_id]
                by_server.setdefault(server, {}).setdefault(medium.header_bytes, []).append(medium)
        return {
            server: [Lenders(media, _ranges(media)) for media in by_header.values()]
            for server, by_header in by_server.items()
        }

    def _likely(self, borrower: MediumFile, lenders: list[MediumFile]) -> bool:
        """Whether a packet fills the size declared, and the borrower's URL, if known, is that of a lender."""
        largest = int(borrower.packet_rows()["size"].max())
        if largest != parse_header(lenders[0].header_bytes).packet_size:
            return False
        _, wanted = self._places[borrower.session_id]
        known = [self._places[lender.session_id][1] for lender in lenders]
        return not wanted or any(path in ("", wanted) for path in known)


def _synthesised(borrower: MediumFile) -> Loan | None:
    """A header made of the frames of MPEG audio that a medium of one stream is of."""
    rows = borrower.packet_rows()
    size = int(rows["size"].max()) if len(rows) else 0
    if not 0 < size <= MAX_PACKET_SIZE:
        return None
    first: MpegAudio | None = None
    streams: set[int] = set()
    objects, earliest = 0, NEVER
    for _, data in padded(borrower, size, PACKETS_AT_ONCE):
        _, payloads = walk_payloads(data, size)
        streams.update(np.unique(payloads["stream"]).tolist())
        begins = payloads[payloads["object_offset"] == 0]
        at = begins["packet"] * size + begins["at"]
        for begin in at[begins["length"] >= 4].tolist():
            frame = mpeg_audio(data[begin : begin + 4].tobytes())
            if frame is None or not frame.same(first or frame):
                return None
            first, objects = first or frame, objects + 1
        if len(payloads):
            earliest = min(earliest, int(payloads["presentation_ms"].min()))
    if first is None or objects < LEAST_OBJECTS or len(streams) != 1:
        return None
    header = mpeg_audio_header(
        first, stream=streams.pop(), packet_size=size, packets=len(rows), preroll_ms=earliest
    )
    note = f"{objects} media objects begin with MPEG audio of one format; the preroll is not known"
    return Loan(StationHeader("", header, Origin.REPAIRED), "synthesised", note)


def _path(url: str) -> str:
    try:
        return urlsplit(url).path.strip("/").lower()
    except ValueError:
        return url


def padded(
    medium: MediumFile, packet_size: int, at_once: int
) -> Iterator[tuple[NDArray[np.void], NDArray[np.uint8]]]:
    """The packets of a medium without a header, some at a time: their rows, and them padded to one size."""
    data = medium.bytes()
    rows = medium.packet_rows()
    for begin in range(0, len(rows), at_once):
        part = np.array(rows[begin : begin + at_once])
        out = np.empty(len(part) * packet_size, dtype=np.uint8)
        pad(data, part["file_offset"].astype(np.int64), part["size"].astype(np.int64), packet_size, out)
        yield part, out


def _key(rows: NDArray[np.void]) -> str:
    """What says which packets may be the same: LocationIds; without them send times, which prove nothing."""
    return "location" if not len(rows) or rows["location"][0] != UNKNOWN_LOCATION else "send_time_ms"


def _range(rows: NDArray[np.void], key: str) -> tuple[int, int]:
    """Least and largest number of packets; none have an empty range."""
    return (int(rows[key].min()), int(rows[key].max())) if len(rows) else (NEVER, -1)


def _ranges(media: list[MediumFile]) -> dict[str, NDArray[np.int64]]:
    found: dict[str, list[tuple[int, int]]] = {"location": [], "send_time_ms": []}
    for medium in media:
        rows = medium.packet_rows()
        for key, ranges in found.items():
            ranges.append(_range(rows, key))
    return {key: np.array(ranges, dtype=np.int64) for key, ranges in found.items()}


class Fitting:
    """Tells whether packets of a medium can be those that a header describes.

    They are parsed once for each packet size, not for each header.
    """

    def __init__(self, borrower: MediumFile) -> None:
        self._borrower = borrower
        self._rows = borrower.packet_rows()
        self._parsed: dict[int, NDArray[np.int64] | None] = {}

    def fits(self, header: Header) -> bool:
        """Whether packets fit a header."""
        size, rows = header.packet_size, self._rows
        if not size or not len(rows) or int(rows["size"].max()) > size:
            return False
        if not header.broadcast:
            last = int(rows["location"].max())
            if last == UNKNOWN_LOCATION:
                last = len(rows) - 1
            if header.packet_count and last >= header.packet_count:
                return False
            longest = max(header.send_duration, header.play_duration) // 10_000 + header.preroll_ms + SLACK_MS
            if int(rows["send_time_ms"].max()) > longest:
                return False
        if size not in self._parsed:
            self._parsed[size] = self._streams(size)
        streams = self._parsed[size]
        declared = np.array([stream.number for stream in header.streams], dtype=np.int64)
        return streams is not None and bool(np.isin(streams, declared).all())

    def _streams(self, size: int) -> NDArray[np.int64] | None:
        """Streams of the payloads of packets padded to a size; none where one does not parse."""
        found = [np.empty(0, dtype=np.int64)]
        for _, data in padded(self._borrower, size, PACKETS_AT_ONCE):
            heads, payloads = walk_payloads(data, size)
            if not heads["ok"].all():
                return None
            found.append(np.unique(payloads["stream"].astype(np.int64)))
        return np.unique(np.concatenate(found))


def _compared(borrower: MediumFile, lender: MediumFile) -> tuple[int, int]:
    """How many packets with the same LocationId are the same in both media, and how many contradict."""
    ours, theirs = borrower.packet_rows(), lender.packet_rows()
    key = _key(ours)
    _, i, j = np.intersect1d(ours[key], theirs[key], return_indices=True)
    if not len(i):
        return 0, 0
    ours, theirs = np.array(ours[i]), np.array(theirs[j])
    same = _equal(
        borrower.bytes(),
        ours["file_offset"].astype(np.int64),
        ours["size"].astype(np.int64),
        lender.bytes(),
        theirs["file_offset"].astype(np.int64),
        theirs["size"].astype(np.int64),
    )
    # A thinned packet has fewer bytes and the same send time: it says nothing [MS-MMSP 3.2.5.11.1].
    says = (ours["size"] == theirs["size"]) | (ours["send_time_ms"] != theirs["send_time_ms"])
    says &= key == "location"
    telling = same & (np.minimum(ours["size"], theirs["size"]) >= TELLING)
    return int(np.count_nonzero(telling)), int(np.count_nonzero(says & ~same))


@njit(cache=True, nogil=True)
def _equal(a, a_at, a_size, b, b_at, b_size):
    """Which packets are the same, but for zero padding that one of the servers stripped."""
    out = np.empty(len(a_at), dtype=np.bool_)
    for i in range(len(a_at)):
        same = True
        for k in range(max(a_size[i], b_size[i])):
            left = a[a_at[i] + k] if k < a_size[i] else np.uint8(0)
            right = b[b_at[i] + k] if k < b_size[i] else np.uint8(0)
            if left != right:
                same = False
                break
        out[i] = same
    return out
