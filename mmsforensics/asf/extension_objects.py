"""The objects of the Header Extension [ASF 4], in the order of the specification's field tables."""

from __future__ import annotations

from mmsforensics.asf.layout import Layout, Records

INDEX_SPECIFIERS = Records(
    "Index Specifiers Count", "Index Specifiers", (("u16", "Stream Number"), ("u16", "Index Type"))
)
"""Which streams an index is of, and what its entries point to [ASF 4.9]."""

EXTENSION_OBJECTS: tuple[tuple[str, str, Layout], ...] = (
    (
        "Extended Stream Properties",
        "4.1",
        (
            ("u64", "Start Time"),
            ("u64", "End Time"),
            ("u32", "Data Bitrate"),
            ("u32", "Buffer Size"),
            ("u32", "Initial Buffer Fullness"),
            ("u32", "Alternate Data Bitrate"),
            ("u32", "Alternate Buffer Size"),
            ("u32", "Alternate Initial Buffer Fullness"),
            ("u32", "Maximum Object Size"),
            ("u32", "Flags"),
            ("u16", "Stream Number"),
            ("u16", "Stream Language ID Index"),
            ("u64", "Average Time Per Frame"),
            ("u16", "Stream Name Count"),
            ("u16", "Payload Extension System Count"),
            Records(
                "Stream Name Count",
                "Stream Names",
                (
                    ("u16", "Language ID Index"),
                    ("u16", "Stream Name Length"),
                    ("text:Stream Name Length", "Stream Name"),
                ),
            ),
            Records(
                "Payload Extension System Count",
                "Payload Extension Systems",
                (
                    ("guid", "Extension System ID"),
                    ("u16", "Extension Data Size"),
                    ("u32", "Extension System Info Length"),
                    ("bytes:Extension System Info Length", "Extension System Info"),
                ),
            ),
        ),
    ),
    (
        "Advanced Mutual Exclusion",
        "4.2",
        (
            ("guid", "Exclusion Type"),
            ("u16", "Stream Numbers Count"),
            Records("Stream Numbers Count", "Stream Numbers", (("u16", "Stream Number"),)),
        ),
    ),
    (
        "Group Mutual Exclusion",
        "4.3",
        (
            ("guid", "Exclusion Type"),
            ("u16", "Record Count"),
            Records(
                "Record Count",
                "Records",
                (
                    ("u16", "Stream Numbers Count"),
                    Records("Stream Numbers Count", "Stream Numbers", (("u16", "Stream Number"),)),
                ),
            ),
        ),
    ),
    (
        "Stream Prioritization",
        "4.4",
        (
            ("u16", "Priority Records Count"),
            Records(
                "Priority Records Count",
                "Priority Records",
                (("u16", "Stream Number"), ("u16", "Priority Flags")),
            ),
        ),
    ),
    (
        "Bandwidth Sharing",
        "4.5",
        (
            ("guid", "Sharing Type"),
            ("u32", "Data Bitrate"),
            ("u32", "Buffer Size"),
            ("u16", "Stream Numbers Count"),
            Records("Stream Numbers Count", "Stream Numbers", (("u16", "Stream Number"),)),
        ),
    ),
    (
        "Language List",
        "4.6",
        (
            ("u16", "Language ID Records Count"),
            Records(
                "Language ID Records Count",
                "Language ID Records",
                (("u8", "Language ID Length"), ("text:Language ID Length", "Language ID")),
            ),
        ),
    ),
    (
        "Metadata",
        "4.7",
        (
            ("u16", "Description Records Count"),
            Records(
                "Description Records Count",
                "Description Records",
                (
                    ("u16", "Reserved"),
                    ("u16", "Stream Number"),
                    ("u16", "Name Length"),
                    ("u16", "Value Data Type"),
                    ("u32", "Value Length"),
                    ("text:Name Length", "Name"),
                    ("bytes:Value Length", "Value"),
                ),
            ),
        ),
    ),
    (
        "Metadata Library",
        "4.8",
        (
            ("u16", "Description Records Count"),
            Records(
                "Description Records Count",
                "Description Records",
                (
                    ("u16", "Language List Index"),
                    ("u16", "Stream Number"),
                    ("u16", "Name Length"),
                    ("u16", "Value Data Type"),
                    ("u32", "Value Length"),
                    ("text:Name Length", "Name"),
                    ("bytes:Value Length", "Value"),
                ),
            ),
        ),
    ),
    (
        "Index Parameters",
        "4.9",
        (("u32", "Index Entry Time Interval"), ("u16", "Index Specifiers Count"), INDEX_SPECIFIERS),
    ),
    (
        "Media Object Index Parameters",
        "4.10",
        (("u32", "Index Entry Count Interval"), ("u16", "Index Specifiers Count"), INDEX_SPECIFIERS),
    ),
    (
        "Timecode Index Parameters",
        "4.11",
        (("u32", "Index Entry Count Interval"), ("u16", "Index Specifiers Count"), INDEX_SPECIFIERS),
    ),
    ("Compatibility", "4.12", (("u8", "Profile"), ("u8", "Mode"))),
    (
        "Advanced Content Encryption",
        "4.13",
        (
            ("u16", "Content Encryption Records Count"),
            Records(
                "Content Encryption Records Count",
                "Content Encryption Records",
                (
                    ("guid", "System ID"),
                    ("u32", "System Version"),
                    ("u16", "Encrypted Object Record Count"),
                    Records(
                        "Encrypted Object Record Count",
                        "Encrypted Object Records",
                        (
                            ("u16", "Encrypted Object ID Type"),
                            ("u16", "Encrypted Object ID Length"),
                            ("bytes:Encrypted Object ID Length", "Encrypted Object ID"),
                        ),
                    ),
                    ("u32", "Data Size"),
                    ("bytes:Data Size", "Data"),
                ),
            ),
        ),
    ),
    # What Windows Media encoders reserve for Index Parameters; no chapter of the specification.
    ("Index Parameters Placeholder", "", (("rest", "Placeholder Data"),)),
)
"""Name, section and layout."""
