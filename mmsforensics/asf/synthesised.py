"""An ASF header made of what packets say: of MPEG audio alone, whose frames name their format.

Rules of this file:

* the codecs of Windows Media need data that stand in the header alone: of such media none is made;
* every media object must begin with a frame of the same format, and packets must be of one stream.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from mmsforensics.asf.guids import guid_of
from mmsforensics.asf.header import SEEKABLE
from mmsforensics.asf.tree import DATA_OBJECT_HEAD, FRAME, HEADER_FIELDS

MPEG_LAYER_3: Final = 0x0055
MPEG: Final = 0x0050
"""Format tags [WAVEFORMATEX]."""

_RATES: Final = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
"""Samples a second by version bits [ISO 11172-3 2.4.2.3; ISO 13818-3; MPEG 2.5]."""

_BITRATES: Final = {
    (3, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 1): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""kbit/s by version (MPEG 2.5 as 2) and layer bits; layer 1 is none that ASF carries."""


@dataclass(frozen=True, slots=True)
class MpegAudio:
    """Format of an MPEG audio frame."""

    layer: int
    sample_rate: int
    channels: int
    bitrate: int
    """Bit/s of this frame."""
    size: int
    """Bytes of this frame."""

    def same(self, other: MpegAudio) -> bool:
        """Whether another frame can be one of the same stream; the bit rate may vary."""
        return (self.layer, self.sample_rate, self.channels) == (
            other.layer,
            other.sample_rate,
            other.channels,
        )


def mpeg_audio(data: bytes) -> MpegAudio | None:
    """Read the four bytes that a frame of MPEG audio, layer 2 or 3, begins with [ISO 11172-3 2.4.1.3]."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return None
    version, layer = data[1] >> 3 & 3, data[1] >> 1 & 3
    rate, index, padding = data[2] >> 2 & 3, data[2] >> 4, data[2] >> 1 & 1
    if version not in _RATES or layer not in (1, 2) or rate == 3 or not 0 < index < 15:
        return None
    sample_rate = _RATES[version][rate]
    bitrate = _BITRATES[3 if version == 3 else 2, layer][index] * 1000
    slots = 72 if layer == 1 and version != 3 else 144
    return MpegAudio(
        layer=4 - layer,
        sample_rate=sample_rate,
        channels=1 if data[3] >> 6 == 3 else 2,
        bitrate=bitrate,
        size=slots * bitrate // sample_rate + padding,
    )


def mpeg_audio_header(
    audio: MpegAudio, *, stream: int, packet_size: int, packets: int, preroll_ms: int
) -> bytes:
    """Make the header of a file of one stream of MPEG audio, the head of the Data Object included.

    Parameters
    ----------
    audio : MpegAudio
    stream : int
        Its number.
    packet_size : int
        Bytes of a data packet.
    packets : int
    preroll_ms : int
        Taken for the preroll.
    """
    tag = MPEG_LAYER_3 if audio.layer == 3 else MPEG
    wave = struct.pack("<HHIIHH", tag, audio.channels, audio.sample_rate, audio.bitrate // 8, 1, 0)
    # MPEGLAYER3WAVEFORMAT: ID, flags (padding as the frames have it), block size, frames, delay.
    extra = struct.pack("<HIHHH", 1, 0, audio.size, 1, 0) if audio.layer == 3 else b""
    wave += struct.pack("<H", len(extra)) + extra
    properties = struct.pack("<QIIHI", 0, len(wave), 0, stream, 0) + wave
    streamed = guid_of("Audio Media") + guid_of("No Error Correction") + properties
    extension = guid_of("Reserved 1 (Header Extension)") + struct.pack("<HI", 6, 0)
    others = _object("Stream Properties", streamed) + _object("Header Extension", extension)
    size = HEADER_FIELDS + FRAME + 80 + len(others)
    data = DATA_OBJECT_HEAD + packets * packet_size
    fields = struct.pack("<6Q", size + data, 0, packets, 0, 0, preroll_ms)
    fields += struct.pack("<4I", SEEKABLE, packet_size, packet_size, max(audio.bitrate, 1))
    body = _object("File Properties", bytes(16) + fields) + others
    head = guid_of("Header Object") + struct.pack("<QIBB", size, 3, 1, 2)
    behind = guid_of("Data Object") + struct.pack("<Q16xQH", data, packets, 0x0101)
    return head + body + behind


def _object(name: str, body: bytes) -> bytes:
    return guid_of(name) + (FRAME + len(body)).to_bytes(8, "little") + body
