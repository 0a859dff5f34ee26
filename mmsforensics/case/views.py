"""Rows and files for what a medium carries beside its streams: commands, markers, pictures, DRM."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mmsforensics.asf import (
    CommandReader,
    Header,
    ScriptCommand,
    markers,
    pictures,
    protections,
    script_commands,
    walk_payloads,
)
from mmsforensics.case.store import encodable

if TYPE_CHECKING:
    from mmsforensics.case.media_place import MediaPlace, MediumNames

READ_AT_ONCE: Final = 2 << 20
"""Bytes of packets searched for commands at once."""

PICTURE_EXTENSIONS: Final = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG\r\n\x1a\n": ".png",
    b"GIF8": ".gif",
    b"BM": ".bmp",
}
"""First bytes of pictures [ISO 10918-1 B.1; PNG 5.2; GIF89a 17; BITMAPFILEHEADER]."""

ENCRYPTED_NOTE: Final = "encrypted, not playable: the header says that a licence is needed"


def write_views(
    place: MediaPlace,
    names: MediumNames,
    kind: str,
    header: Header,
    packets: NDArray[np.void],
    header_frame: int,
    laid: Path | None = None,
) -> None:
    """Write what a finished medium's header and command streams say.

    Parameters
    ----------
    place, names, kind
        Where the case is, how the medium is called, and which of its files.
    header : Header
        Parsed.
    packets : ndarray of MEDIA_PACKET
        Of the file.
    header_frame : int
        Number of the first frame of the header, 0 if it has none.
    laid : Path, optional
        Where `packets` lie, if not in that file.
    """
    mine = {"media_id": names.media_id(kind), "session_id": names.session_id}
    for command in script_commands(header):
        _command_row(place, mine, header, command, header_frame, None)
    for command in _streamed(laid or place.root / names.path(kind), header, packets):
        row = packets[command.packet]
        _command_row(place, mine, header, command, int(row["frame"]), int(row["ts"]))
        if kind != "merged":  # else the copies have told it
            place.commanded(names.session_id, int(row["frame"]), int(row["ts"]), command)
    for marker in markers(header):
        times = {"time_ms": marker.time_ms, "play_ms": marker.time_ms - header.preroll_ms}
        place.store.append_row(
            "markers",
            {
                **mine,
                **(times if marker.time_ms < 1 << 62 else {}),
                "send_time_ms": marker.send_time_ms,
                "offset": marker.offset,
                "description": encodable(marker.description),
            },
        )
    _pictures(place, names, mine, header)
    for found in protections(header):
        place.store.append_row(
            "protections",
            {
                **mine,
                "source_object": found.source_object,
                "system": encodable(found.system),
                "key_id": encodable(found.key_id),
                "licence_url": encodable(found.licence_url),
                "text": encodable(found.text),
            },
        )


def encrypted(header: Header) -> bool:
    """Whether a header says that its medium, or a stream of it, is encrypted."""
    return header.protected or any(stream.encrypted for stream in header.streams)


def _command_row(
    place: MediaPlace,
    mine: dict[str, str],
    header: Header,
    command: ScriptCommand,
    frame: int,
    ts: int | None,
) -> None:
    capture_id, local = place.book.one(frame) if frame else (None, None)
    place.store.append_row(
        "script_commands",
        {
            **mine,
            "time_ms": command.time_ms,
            "play_ms": command.time_ms - header.preroll_ms,
            "type": encodable(command.type),
            "value": encodable(command.value),
            "stream_number": command.stream or None,
            "packet": command.packet if command.packet >= 0 else None,
            "ts": ts,
            "capture_id": capture_id,
            "frame": local,
        },
    )


def _streamed(path: Path, header: Header, packets: NDArray[np.void]) -> Iterator[ScriptCommand]:
    """Commands that streams of the medium carry."""
    size = header.packet_size
    readers = [CommandReader(s.number) for s in header.streams if s.type == "script"]
    if not readers or not size or not len(packets):
        return
    data = np.memmap(path, dtype=np.uint8, mode="r")
    offsets = packets["file_offset"].astype(np.int64)
    offsets = offsets[: int(np.searchsorted(offsets, len(data) - size, side="right"))]
    step = max(READ_AT_ONCE // size, 1)
    for begin in range(0, len(offsets), step):
        block = data[offsets[begin : begin + step, None] + np.arange(size)].reshape(-1)
        _, payloads = walk_payloads(block, size)
        for reader in readers:
            yield from reader.feed(block, size, payloads, begin)


def _pictures(place: MediaPlace, names: MediumNames, mine: dict[str, str], header: Header) -> None:
    for number, picture in enumerate(pictures(header), start=1):
        extension = next(
            (e for magic, e in PICTURE_EXTENSIONS.items() if picture.data.startswith(magic)), ".bin"
        )
        path = names.path(f"picture-{number}").rsplit(".", 1)[0] + extension
        (place.root / path).write_bytes(picture.data)
        place.store.append_row(
            "pictures",
            {
                **mine,
                "number": number,
                "type": picture.type,
                "mime": encodable(picture.mime),
                "description": encodable(picture.description),
                "path": path,
                "size": len(picture.data),
                "sha256": hashlib.sha256(picture.data).hexdigest(),
                "whole": picture.whole,
                "source_object": picture.source_object,
            },
        )
