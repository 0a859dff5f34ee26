"""The sound and pictures of an ASF file in a Matroska container, nothing decoded, nothing changed.

Rules of this file:

* media objects become blocks as they are, with their presentation times less the preroll; what is not whole
  is left out and counted;
* sound that is spread over its object (Audio Spread) is put back in order, as codecs take it;
* codecs of Windows are held as Matroska holds them: a BITMAPINFOHEADER or WAVEFORMATEX as private data
  [Matroska codec mappings: V_MS/VFW/FOURCC, A_MS/ACM];
* sizes are written when they are known, so the file that is written to must be one that can be sought.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from mmsforensics.asf.file import AsfError, AsfFile
from mmsforensics.asf.header import StreamInfo

BITMAP_AT: Final = 11
"""Offset of the Format Data in those of a video stream [ASF 9.2]."""

CLUSTER_MS: Final = 1000
"""Time after which a cluster ends; a block's time is 16 bits from its cluster's [Matroska 10.2]."""

MAX_TRACKS: Final = 126
"""Track numbers of one byte."""

LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
"""What may be a language tag [RFC 1766, which ASF 4.6 refers to; RFC 5646]."""

EBML, SEGMENT, SEEK_HEAD, INFO, TRACKS, CLUSTER, CUES, VOID = (
    b"\x1a\x45\xdf\xa3",
    b"\x18\x53\x80\x67",
    b"\x11\x4d\x9b\x74",
    b"\x15\x49\xa9\x66",
    b"\x16\x54\xae\x6b",
    b"\x1f\x43\xb6\x75",
    b"\x1c\x53\xbb\x6b",
    b"\xec",
)
"""Element identifiers [RFC 9559 5.1]."""


@dataclass(frozen=True, slots=True)
class Packed:
    """What was written."""

    tracks: tuple[int, ...]
    """Numbers of the streams, in order of track numbers."""
    blocks: int
    left_out: int
    """Media objects that are not whole."""
    duration_ms: int


def element(identifier: bytes, body: bytes) -> bytes:
    """Return an element with a size of eight bytes [RFC 8794 4]."""
    return identifier + (len(body) | 1 << 56).to_bytes(8, "big") + body


def number(identifier: bytes, value: int) -> bytes:
    """Return an element that holds an unsigned integer."""
    return element(identifier, value.to_bytes(8, "big"))


def write_matroska(film: AsfFile, out: BinaryIO) -> Packed:
    """Write a Matroska file of an ASF file's video and audio streams.

    Parameters
    ----------
    film : AsfFile
    out : file
        Open for writing, empty, and one that can be sought.

    Raises
    ------
    AsfError
        There is no stream of sound or pictures, or a table would be much larger than the file.
    """
    streams = [s for s in film.streams if s.type in ("video", "audio")][:MAX_TRACKS]
    if not streams:
        raise AsfError(f"{film.path}: no stream of sound or pictures")
    tracks = {stream.number: place for place, stream in enumerate(streams, start=1)}
    described = b"".join(_track(film, tracks[stream.number], stream) for stream in streams)
    out.write(_ebml_head())
    out.write(SEGMENT + b"\x01" + b"\xff" * 7)  # of unknown size, until the end
    begin = out.tell()
    out.write(_seek_head(0))
    info_at = out.tell()
    out.write(_info(0.0))
    out.write(element(TRACKS, described))
    cues: list[bytes] = []
    result = Packed(tuple(tracks), 0, 0, 0)
    for cluster in _clusters(film, tracks):
        if cluster.cue is not None:
            track, ms = cluster.cue
            where = number(b"\xf7", track) + number(b"\xf1", out.tell() - begin)
            cues.append(element(b"\xbb", number(b"\xb3", ms) + element(b"\xb7", where)))
        out.write(element(CLUSTER, number(b"\xe7", cluster.base_ms) + b"".join(cluster.blocks)))
        result = Packed(
            result.tracks,
            result.blocks + len(cluster.blocks),
            result.left_out + cluster.left_out,
            max(result.duration_ms, cluster.last_ms),
        )
    seek_head = _seek_head(out.tell() - begin)
    if cues:
        out.write(element(CUES, b"".join(cues)))
    else:  # an element without a CuePoint is none
        seek_head = element(VOID, bytes(len(seek_head) - len(element(VOID, b""))))
    end = out.tell()
    for at, data in (
        (begin - 8, (end - begin | 1 << 56).to_bytes(8, "big")),
        (begin, seek_head),
        (info_at, _info(float(result.duration_ms))),
    ):
        out.seek(at)
        out.write(data)
    out.seek(end)
    return result


def _ebml_head() -> bytes:
    body = element(b"\x42\x82", b"matroska") + number(b"\x42\x87", 4) + number(b"\x42\x85", 2)
    return element(EBML, body)


def _seek_head(cues_at: int) -> bytes:
    entry = element(b"\x53\xab", CUES) + number(b"\x53\xac", cues_at)
    return element(SEEK_HEAD, element(b"\x4d\xbb", entry))


def _info(duration_ms: float) -> bytes:
    name = element(b"\x4d\x80", b"mmsforensics") + element(b"\x57\x41", b"mmsforensics")
    duration = element(b"\x44\x89", struct.pack(">d", duration_ms))
    return element(INFO, number(b"\x2a\xd7\xb1", 1_000_000) + name + duration)


def _track(film: AsfFile, place: int, stream: StreamInfo) -> bytes:
    """Return a track entry with the format structure of Windows as private data."""
    raw = _properties(film, stream.number).get("Type-Specific Data", b"")
    assert isinstance(raw, bytes)
    body = number(b"\xd7", place) + number(b"\x73\xc5", place) + number(b"\x9c", 0)
    body += _language(film, stream.number)
    if stream.type == "video":
        private = element(b"\x63\xa2", raw[BITMAP_AT:])
        shape = number(b"\xb0", stream.width or 0) + number(b"\xba", stream.height or 0)
        body += number(b"\x83", 1) + element(b"\x86", b"V_MS/VFW/FOURCC") + private
        return element(b"\xae", body + element(b"\xe0", shape))
    sound = element(b"\xb5", struct.pack(">d", stream.sample_rate or 0)) + number(
        b"\x9f", stream.channels or 1
    )
    body += number(b"\x83", 2) + element(b"\x86", b"A_MS/ACM") + element(b"\x63\xa2", raw)
    return element(b"\xae", body + element(b"\xe1", sound))


def _language(film: AsfFile, wanted: int) -> bytes:
    """Return the language of a stream; a track that says nothing would be English [RFC 9559 5.1.4.1.19]."""
    undetermined = element(b"\x22\xb5\x9c", b"und")
    languages: list[str] = []
    index = -1
    for item in film.walk():
        if item.name == "Language List":
            records = item.fields.get("Language ID Records", ())
            assert isinstance(records, tuple)
            languages = languages or [str(r["Language ID"]) for r in records]
        elif item.name == "Extended Stream Properties" and item.fields.get("Stream Number") == wanted:
            found = item.fields.get("Stream Language ID Index")
            index = found if isinstance(found, int) else index
    if not 0 <= index < len(languages) or not LANGUAGE.fullmatch(languages[index]):
        return undetermined
    return undetermined + element(b"\x22\xb5\x9d", languages[index].encode())


def _properties(film: AsfFile, wanted: int) -> Mapping[str, object]:
    """Fields of the Stream Properties Object of a stream."""
    for item in film.walk():
        flags = item.fields.get("Flags")
        if item.name == "Stream Properties" and isinstance(flags, int) and flags & 0x7F == wanted:
            return item.fields
    return {}


@dataclass(frozen=True, slots=True)
class _Cluster:
    base_ms: int
    blocks: list[bytes]
    cue: tuple[int, int] | None
    """Track and time of the block to seek to: the first key frame, of sound alone the first block."""
    left_out: int
    last_ms: int


def _clusters(film: AsfFile, tracks: Mapping[int, int]) -> Iterator[_Cluster]:
    """Blocks of some seconds, in the order in which their first payloads stand in the file."""
    spread = {stream: _spread(film, stream) for stream in tracks}
    videos = {s.number for s in film.streams if s.type == "video" and s.number in tracks}
    cluster: _Cluster | None = None
    for row, data in _objects(film, tracks):
        stream = int(row["stream"])
        at = max(int(row["presentation_ms"]) - film.header.preroll_ms, 0)
        if cluster is None or abs(at - cluster.base_ms) >= CLUSTER_MS:
            if cluster is not None:
                yield cluster
            cluster = _Cluster(at, [], None, 0, at)
        if row["complete"] == 0:
            cluster = replace(cluster, left_out=cluster.left_out + 1)
            continue
        key = bool(row["key"]) or stream not in videos
        head = struct.pack(">BhB", 0x80 | tracks[stream], at - cluster.base_ms, 0x80 * key)
        cluster.blocks.append(element(b"\xa3", head + _in_order(data, spread[stream])))
        cue = cluster.cue
        if cue is None and key and (stream in videos or not videos):
            cue = tracks[stream], at
        cluster = replace(cluster, cue=cue, last_ms=max(cluster.last_ms, at))
    if cluster is not None:
        yield cluster


def _objects(film: AsfFile, tracks: Mapping[int, int]) -> Iterator[tuple[np.void, NDArray[np.uint8]]]:
    """Media objects with their bytes."""
    packets, payloads, found = film.packet_bytes(), film.payloads(), film.media_objects()
    begin = payloads["packet"] * film.packet_size + payloads["at"]
    end = begin + payloads["length"]
    mine = {stream: np.flatnonzero(payloads["stream"] == stream) for stream in tracks}
    done = dict.fromkeys(tracks, 0)
    for row in found:
        stream = int(row["stream"])
        if stream not in tracks:
            continue
        which = mine[stream][done[stream] : done[stream] + int(row["payloads"])]
        done[stream] += int(row["payloads"])
        yield row, np.concatenate([packets[begin[i] : end[i]] for i in which])


Spread = tuple[int, int, int]
"""Span, virtual packet length, virtual chunk length."""


def _spread(film: AsfFile, stream: int) -> Spread:
    fields = _properties(film, stream).get("Error Correction Fields")
    names = ("Span", "Virtual Packet Length", "Virtual Chunk Length")
    values = [fields.get(n, 0) for n in names] if isinstance(fields, Mapping) else [0, 0, 0]
    span, packet, chunk = (v if isinstance(v, int) else 0 for v in values)
    return span, packet, chunk


def _in_order(data: NDArray[np.uint8], spread: Spread) -> bytes:
    """Put spread sound back in order: its chunks were written column by column [ASF 3.9, Audio Spread]."""
    span, packet, chunk = spread
    if span < 2 or not chunk or packet % chunk or len(data) != span * packet:
        return data.tobytes()
    return data.reshape(span, packet // chunk, chunk).transpose(1, 0, 2).tobytes()
