"""Codec tags of Windows Media files by the names that ffmpeg uses, so that findings can be compared."""

from __future__ import annotations

AUDIO_TAGS: dict[int, str] = {
    0x0001: "pcm",
    0x0002: "adpcm_ms",
    0x0003: "pcm_float",
    0x0006: "pcm_alaw",
    0x0007: "pcm_mulaw",
    0x000A: "wmavoice",
    0x0011: "adpcm_ima_wav",
    0x0022: "truespeech",
    0x0031: "gsm_ms",
    0x0042: "g723_1",
    0x0050: "mp2",
    0x0055: "mp3",
    0x0075: "metasound",
    0x00FF: "aac",
    0x0130: "sipr",
    0x0160: "wmav1",
    0x0161: "wmav2",
    0x0162: "wmapro",
    0x0163: "wmalossless",
    0x0270: "atrac3",
    0x0401: "imc",
    0x1600: "aac",
    0x1602: "aac_latm",
    0x1610: "aac",
    0x2000: "ac3",
    0x2001: "dts",
    0x566F: "vorbis",
    0xF1AC: "flac",
}

VIDEO_TAGS: dict[bytes, str] = {
    b"MPG4": "msmpeg4v1",
    b"MP41": "msmpeg4v1",
    b"MP42": "msmpeg4v2",
    b"MP43": "msmpeg4v3",
    b"DIV3": "msmpeg4v3",
    b"MP4S": "mpeg4",
    b"M4S2": "mpeg4",
    b"MP4V": "mpeg4",
    b"XVID": "mpeg4",
    b"WMV1": "wmv1",
    b"WMV2": "wmv2",
    b"WMV3": "wmv3",
    b"WMVA": "vc1",
    b"WVC1": "vc1",
    b"WMVP": "wmv3image",
    b"WVP2": "vc1image",
    b"FMP4": "mpeg4",
    b"DIVX": "mpeg4",
    b"DX50": "mpeg4",
    b"H263": "h263",
    b"FLV1": "flv1",
    b"FFV1": "ffv1",
    b"HFYU": "huffyuv",
    b"VP80": "vp8",
    b"I420": "rawvideo",
    b"MPG2": "mpeg2video",
    b"MSS1": "mss1",
    b"MSS2": "mss2",
    b"MTS2": "mts2",
    b"H264": "h264",
    b"MJPG": "mjpeg",
    b"DVR ": "mpeg2video",
}


EXTENSIBLE = 0xFFFE
"""Format tag of a WAVEFORMATEXTENSIBLE, whose codec is a GUID behind it."""

_SUBFORMAT = slice(6, 22)
"""Of the bytes behind a WAVEFORMATEX: valid bits, channel mask, GUID."""

_BY_TAG = bytes.fromhex("000000001000800000aa00389b71")
"""A GUID that begins with a format tag goes on so (KSDATAFORMAT_SUBTYPE_WAVEFORMATEX)."""

_SUBFORMATS = {bytes.fromhex("af87fba7022dfb42a4d405cd93843bdd"): "eac3"}


def audio_codec(tag: int, bits: int, more: bytes = b"") -> str:
    """Name of an audio codec by its format tag; PCM is named with its sample size.

    `more` are the bytes behind the WAVEFORMATEX, in which an extensible one names its codec.
    """
    subformat = more[_SUBFORMAT]
    if tag == EXTENSIBLE and subformat in _SUBFORMATS:
        return _SUBFORMATS[subformat]
    if tag == EXTENSIBLE and subformat[2:] == _BY_TAG:
        tag = int.from_bytes(subformat[:2], "little")
    name = AUDIO_TAGS.get(tag, f"0x{tag:04x}")
    if name == "pcm":
        return "pcm_u8" if bits == 8 else f"pcm_s{bits}le"
    if name == "pcm_float":
        return f"pcm_f{bits}le"
    return name


def video_codec(fourcc: bytes) -> str:
    """Name of a video codec by its FourCC, whose case real files vary."""
    return VIDEO_TAGS.get(fourcc.upper(), fourcc.decode("ascii", "backslashreplace"))
