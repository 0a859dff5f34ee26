"""The objects of the ASF header [ASF 3], in the order of the specification's field tables."""

from __future__ import annotations

from mmsforensics.asf.layout import Layout, Records

HEADER_OBJECTS: tuple[tuple[str, str, Layout], ...] = (
    (
        "Header Object",
        "3.1",
        (("u32", "Number of Header Objects"), ("u8", "Reserved 1"), ("u8", "Reserved 2")),
    ),
    (
        "File Properties",
        "3.2",
        (
            ("bytes16", "File ID"),
            ("u64", "File Size"),
            ("u64", "Creation Date"),
            ("u64", "Data Packets Count"),
            ("u64", "Play Duration"),
            ("u64", "Send Duration"),
            ("u64", "Preroll"),
            ("u32", "Flags"),
            ("u32", "Minimum Data Packet Size"),
            ("u32", "Maximum Data Packet Size"),
            ("u32", "Maximum Bitrate"),
        ),
    ),
    (
        "Stream Properties",
        "3.3",
        (
            ("guid", "Stream Type"),
            ("guid", "Error Correction Type"),
            ("u64", "Time Offset"),
            ("u32", "Type-Specific Data Length"),
            ("u32", "Error Correction Data Length"),
            ("u16", "Flags"),
            ("u32", "Reserved"),
            ("bytes:Type-Specific Data Length", "Type-Specific Data"),
            ("bytes:Error Correction Data Length", "Error Correction Data"),
        ),
    ),
    (
        "Header Extension",
        "3.4",
        (
            ("guid", "Reserved Field 1"),
            ("u16", "Reserved Field 2"),
            ("u32", "Header Extension Data Size"),
        ),
    ),
    (
        "Codec List",
        "3.5",
        (
            ("guid", "Reserved"),
            ("u32", "Codec Entries Count"),
            Records(
                "Codec Entries Count",
                "Codec Entries",
                (
                    ("u16", "Type"),
                    ("u16", "Codec Name Length"),
                    ("chars:Codec Name Length", "Codec Name"),
                    ("u16", "Codec Description Length"),
                    ("chars:Codec Description Length", "Codec Description"),
                    ("u16", "Codec Information Length"),
                    ("bytes:Codec Information Length", "Codec Information"),
                ),
            ),
        ),
    ),
    (
        "Script Command",
        "3.6",
        (
            ("guid", "Reserved"),
            ("u16", "Commands Count"),
            ("u16", "Command Types Count"),
            Records(
                "Command Types Count",
                "Command Types",
                (
                    ("u16", "Command Type Name Length"),
                    ("chars:Command Type Name Length", "Command Type Name"),
                ),
            ),
            Records(
                "Commands Count",
                "Commands",
                (
                    ("u32", "Presentation Time"),
                    ("u16", "Type Index"),
                    ("u16", "Command Name Length"),
                    ("chars:Command Name Length", "Command Name"),
                ),
            ),
        ),
    ),
    (
        "Marker",
        "3.7",
        (
            ("guid", "Reserved"),
            ("u32", "Markers Count"),
            ("u16", "Reserved 2"),
            ("u16", "Name Length"),
            ("text:Name Length", "Name"),
            Records(
                "Markers Count",
                "Markers",
                (
                    ("u64", "Offset"),
                    ("u64", "Presentation Time"),
                    ("u16", "Entry Length"),
                    ("u32", "Send Time"),
                    ("u32", "Flags"),
                    ("u32", "Marker Description Length"),
                    ("chars:Marker Description Length", "Marker Description"),
                ),
            ),
        ),
    ),
    (
        "Bitrate Mutual Exclusion",
        "3.8",
        (
            ("guid", "Exclusion Type"),
            ("u16", "Stream Numbers Count"),
            Records("Stream Numbers Count", "Stream Numbers", (("u16", "Stream Number"),)),
        ),
    ),
    (
        "Error Correction",
        "3.9",
        (
            ("guid", "Error Correction Type"),
            ("u32", "Error Correction Data Length"),
            ("bytes:Error Correction Data Length", "Error Correction Data"),
        ),
    ),
    (
        "Content Description",
        "3.10",
        (
            ("u16", "Title Length"),
            ("u16", "Author Length"),
            ("u16", "Copyright Length"),
            ("u16", "Description Length"),
            ("u16", "Rating Length"),
            ("text:Title Length", "Title"),
            ("text:Author Length", "Author"),
            ("text:Copyright Length", "Copyright"),
            ("text:Description Length", "Description"),
            ("text:Rating Length", "Rating"),
        ),
    ),
    (
        "Extended Content Description",
        "3.11",
        (
            ("u16", "Content Descriptors Count"),
            Records(
                "Content Descriptors Count",
                "Content Descriptors",
                (
                    ("u16", "Name Length"),
                    ("text:Name Length", "Name"),
                    ("u16", "Value Data Type"),
                    ("u16", "Value Length"),
                    ("bytes:Value Length", "Value"),
                ),
            ),
        ),
    ),
    (
        "Stream Bitrate Properties",
        "3.12",
        (
            ("u16", "Bitrate Records Count"),
            Records(
                "Bitrate Records Count",
                "Bitrate Records",
                (("u16", "Flags"), ("u32", "Average Bitrate")),
            ),
        ),
    ),
    (
        "Content Branding",
        "3.13",
        (
            ("u32", "Banner Image Type"),
            ("u32", "Banner Image Data Size"),
            ("bytes:Banner Image Data Size", "Banner Image Data"),
            ("u32", "Banner Image URL Length"),
            ("ansi:Banner Image URL Length", "Banner Image URL"),
            ("u32", "Copyright URL Length"),
            ("ansi:Copyright URL Length", "Copyright URL"),
        ),
    ),
    (
        "Content Encryption",
        "3.14",
        (
            ("u32", "Secret Data Length"),
            ("bytes:Secret Data Length", "Secret Data"),
            ("u32", "Protection Type Length"),
            ("ansi:Protection Type Length", "Protection Type"),
            ("u32", "Key ID Length"),
            ("ansi:Key ID Length", "Key ID"),
            ("u32", "License URL Length"),
            ("ansi:License URL Length", "License URL"),
        ),
    ),
    (
        "Extended Content Encryption",
        "3.15",
        (("u32", "Data Size"), ("text:Data Size", "Data")),
    ),
    (
        "Digital Signature",
        "3.16",
        (
            ("u32", "Signature Type"),
            ("u32", "Signature Data Length"),
            ("bytes:Signature Data Length", "Signature Data"),
        ),
    ),
    ("Padding", "3.17", (("rest", "Padding Data"),)),
)
"""Name, section and layout."""
