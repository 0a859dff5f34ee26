"""Type-specific data of streams by their media type [ASF 9], and error correction data."""

from __future__ import annotations

from mmsforensics.asf.layout import Layout

AUDIO: Layout = (
    ("u16", "Codec ID / Format Tag"),
    ("u16", "Number of Channels"),
    ("u32", "Samples Per Second"),
    ("u32", "Average Number of Bytes Per Second"),
    ("u16", "Block Alignment"),
    ("u16", "Bits Per Sample"),
    ("u16", "Codec Specific Data Size"),
    ("bytes:Codec Specific Data Size", "Codec Specific Data"),
)
"""WAVEFORMATEX; some writers leave out the codec data and its size [ASF 9.1]."""

VIDEO: Layout = (
    ("u32", "Encoded Image Width"),
    ("u32", "Encoded Image Height"),
    ("u8", "Reserved Flags"),
    ("u16", "Format Data Size"),
    ("u32", "Format Data Size (BITMAPINFOHEADER)"),
    ("u32", "Image Width"),
    ("u32", "Image Height"),
    ("u16", "Reserved"),
    ("u16", "Bits Per Pixel Count"),
    ("bytes4", "Compression ID"),
    ("u32", "Image Size"),
    ("u32", "Horizontal Pixels Per Meter"),
    ("u32", "Vertical Pixels Per Meter"),
    ("u32", "Colors Used Count"),
    ("u32", "Important Colors Count"),
    ("rest", "Codec Specific Data"),
)
"""Encoded image and BITMAPINFOHEADER [ASF 9.2]."""

JFIF: Layout = (("u32", "Image Width"), ("u32", "Image Height"), ("u32", "Reserved"))
"""[ASF 9.4.1]"""

DEGRADABLE_JPEG: Layout = (
    ("u32", "Image Width"),
    ("u32", "Image Height"),
    ("u16", "Reserved 1"),
    ("u16", "Reserved 2"),
    ("u16", "Reserved 3"),
    ("u16", "Interchange Data Length"),
    ("bytes:Interchange Data Length", "Interchange Data"),
)
"""[ASF 9.4.2]"""

BINARY: Layout = (
    ("guid", "Major Media Type"),
    ("guid", "Media Subtype"),
    ("u32", "Fixed-Size Samples"),
    ("u32", "Temporal Compression"),
    ("u32", "Sample Size"),
    ("guid", "Format Type"),
    ("u32", "Format Data Size"),
    ("bytes:Format Data Size", "Format Data"),
)
"""File transfer and binary media [ASF 9.5]."""

TYPE_SPECIFIC: dict[str, Layout] = {
    "Audio Media": AUDIO,
    "Video Media": VIDEO,
    "JFIF Media": JFIF,
    "Degradable JPEG Media": DEGRADABLE_JPEG,
    "File Transfer Media": BINARY,
    "Binary Media": BINARY,
}
"""Layout of Type-Specific Data by Stream Type."""

AUDIO_SPREAD: Layout = (
    ("u8", "Span"),
    ("u16", "Virtual Packet Length"),
    ("u16", "Virtual Chunk Length"),
    ("u16", "Silence Data Length"),
    ("bytes:Silence Data Length", "Silence Data"),
)
"""How audio is interleaved within media objects [ASF 3.3]."""

ERROR_CORRECTION: dict[str, Layout] = {"Audio Spread": AUDIO_SPREAD}
"""Layout of Error Correction Data by Error Correction Type."""

WEB_STREAM: Layout = (
    ("u16", "Web Stream Format Data Size"),
    ("u16", "Fixed Sample Header Size"),
    ("u16", "Version Number"),
    ("u16", "Reserved"),
)
"""Format Data of a Web stream [ASF 9.5.1]."""
