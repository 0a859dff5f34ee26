"""The objects that stand beside the header: data and indexes [ASF 5, 6], and the XMP of Adobe programs."""

from __future__ import annotations

from mmsforensics.asf.extension_objects import INDEX_SPECIFIERS
from mmsforensics.asf.layout import Array, Layout, Records

INDEX_BLOCKS = Records(
    "Index Blocks Count",
    "Index Blocks",
    (
        ("u32", "Index Entry Count"),
        Array("Index Specifiers Count", "Block Positions", (("u64", "Block Position"),)),
        Array("Index Entry Count", "Index Entries", (("u32", "Offsets", "Index Specifiers Count"),)),
    ),
)
"""Blocks of an index by time or by media objects [ASF 6.2, 6.3]."""

TOP_LEVEL_OBJECTS: tuple[tuple[str, str, Layout], ...] = (
    (
        "Data Object",
        "5.1",
        # Data packets follow; they are no fields.
        (("bytes16", "File ID"), ("u64", "Total Data Packets"), ("u16", "Reserved")),
    ),
    (
        "Simple Index Object",
        "6.1",
        (
            ("bytes16", "File ID"),
            ("u64", "Index Entry Time Interval"),
            ("u32", "Maximum Packet Count"),
            ("u32", "Index Entries Count"),
            Array(
                "Index Entries Count", "Index Entries", (("u32", "Packet Number"), ("u16", "Packet Count"))
            ),
        ),
    ),
    (
        "Index Object",
        "6.2",
        (
            ("u32", "Index Entry Time Interval"),
            ("u16", "Index Specifiers Count"),
            ("u32", "Index Blocks Count"),
            INDEX_SPECIFIERS,
            INDEX_BLOCKS,
        ),
    ),
    (
        "Media Object Index Object",
        "6.3",
        (
            ("u32", "Index Entry Count Interval"),
            ("u16", "Index Specifiers Count"),
            ("u32", "Index Blocks Count"),
            INDEX_SPECIFIERS,
            INDEX_BLOCKS,
        ),
    ),
    (
        "Timecode Index Object",
        "6.4",
        (
            ("u32", "Reserved"),
            ("u16", "Index Specifiers Count"),
            ("u32", "Index Blocks Count"),
            INDEX_SPECIFIERS,
            Records(
                "Index Blocks Count",
                "Index Blocks",
                (
                    ("u32", "Index Entry Count"),
                    ("u16", "Timecode Range"),
                    Array("Index Specifiers Count", "Block Positions", (("u64", "Block Position"),)),
                    Array(
                        "Index Entry Count",
                        "Index Entries",
                        (("u32", "Timecode"), ("u32", "Offsets", "Index Specifiers Count")),
                    ),
                ),
            ),
        ),
    ),
    ("XMP packet", "", (("rest", "XMP Packet"),)),
)
"""Name, section and layout."""
