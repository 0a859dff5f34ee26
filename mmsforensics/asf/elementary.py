"""Elementary streams: what the payloads of one stream hold, one behind the other, nothing changed.

Rules of this file:

* bytes are written in the order of the file; what a medium lacks is not made up, and the list of media
  objects says which ones are whole;
* which file name suits a stream is told by its codec, and only where such files have no framing of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.asf.file import AsfFile
from mmsforensics.asf.header import StreamInfo
from mmsforensics.asf.layout import bytes_of

STREAM_OBJECT = np.dtype(
    [
        ("offset", "i8"),  # in the elementary stream
        ("size", "u4"),  # bytes of it there
        ("stated_size", "u4"),  # 0 when no payload says
        ("presentation_ms", "u4"),  # preroll included
        ("object_number", "u4"),
        ("first_packet", "i8"),
        ("key", "u1"),
        ("complete", "i1"),  # 1, 0 or -1 when not known
    ],
    align=True,
)
"""A media object in an elementary stream."""

SELF_FRAMED: Final = {
    "0x0001": ".pcm",
    "0x0050": ".mp2",
    "0x0055": ".mp3",
    "0x2000": ".ac3",
    "H264": ".h264",
    "MPG1": ".m1v",
    "MPG2": ".m2v",
    "MP4V": ".m4v",
    "MP4S": ".m4v",
}
"""File name extensions of streams that players read without a container, by format tag or FourCC
in capitals."""


def codec_data(film: AsfFile, number: int) -> bytes:
    """Codec Specific Data of a stream: what its decoder is told in the header [ASF 9.1, 9.2]."""
    for item in film.walk():
        flags, values = item.fields.get("Flags"), item.fields.get("Type-Specific Fields")
        if item.name == "Stream Properties" and isinstance(flags, int) and flags & 0x7F == number:
            return bytes_of(values, "Codec Specific Data") if isinstance(values, Mapping) else b""
    return b""


def extension_of(stream: StreamInfo, told: bytes = b"") -> str:
    """File name extension of an elementary stream; ``.bin`` where players need a container for it.

    Pictures whose parameters stand in the header alone (`told`, their `codec_data`) need one.
    """
    if stream.type == "video" and told:
        return ".bin"
    return SELF_FRAMED.get(stream.codec_tag.upper().replace("0X", "0x"), ".bin")


def write_stream(film: AsfFile, number: int, out: BinaryIO) -> NDArray[np.void]:
    """Write the payload data of a stream.

    Parameters
    ----------
    film : AsfFile
    number : int
        Of the stream.
    out : file
        Open for writing.

    Returns
    -------
    ndarray of STREAM_OBJECT
        The media objects, in the order in which they were written.
    """
    for batch in film.batches():
        payloads = batch.payloads[batch.payloads["stream"] == number]
        start = (payloads["packet"] - batch.first_packet) * film.packet_size + payloads["at"]
        out.write(_gathered(batch.data, start.astype(np.int64), payloads["length"].astype(np.int64)).data)
    found = film.media_objects()
    found = found[found["stream"] == number]
    rows = np.empty(len(found), dtype=STREAM_OBJECT)
    rows["offset"] = np.cumsum(found["received"], dtype=np.int64) - found["received"]
    rows["size"], rows["stated_size"] = found["received"], found["size"]
    for name in ("presentation_ms", "object_number", "first_packet", "key", "complete"):
        rows[name] = found[name]
    return rows


@njit(cache=True, nogil=True)
def _gathered(data, start, length):
    """Bytes of several places, one behind the other."""
    out = np.empty(length.sum(), dtype=np.uint8)
    at = 0
    for i in range(len(start)):
        out[at : at + length[i]] = data[start[i] : start[i] + length[i]]
        at += length[i]
    return out
