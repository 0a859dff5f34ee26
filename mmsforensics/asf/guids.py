"""The GUIDs of ASF, named (ASF specification, chapter 10, and extensions seen in files)."""

from __future__ import annotations

import uuid

_TABLE: tuple[tuple[str, str], ...] = (
    # top level
    ("75B22630-668E-11CF-A6D9-00AA0062CE6C", "Header Object"),
    ("75B22636-668E-11CF-A6D9-00AA0062CE6C", "Data Object"),
    ("33000890-E5B1-11CF-89F4-00A0C90349CB", "Simple Index Object"),
    ("D6E229D3-35DA-11D1-9034-00A0C90349BE", "Index Object"),
    ("FEB103F8-12AD-4C64-840F-2A1D2F7AD48C", "Media Object Index Object"),
    ("3CB73FD0-0C4A-4803-953D-EDF7B6228F0C", "Timecode Index Object"),
    ("D9AADE20-7C17-4F9C-BC28-8555DD98E2A2", "Index Parameters Placeholder"),
    ("BE7ACFCB-97A9-42E8-9C71-999491E3AFAC", "XMP packet"),
    # header
    ("8CABDCA1-A947-11CF-8EE4-00C00C205365", "File Properties"),
    ("B7DC0791-A9B7-11CF-8EE6-00C00C205365", "Stream Properties"),
    ("5FBF03B5-A92E-11CF-8EE3-00C00C205365", "Header Extension"),
    ("86D15240-311D-11D0-A3A4-00A0C90348F6", "Codec List"),
    ("1EFB1A30-0B62-11D0-A39B-00A0C90348F6", "Script Command"),
    ("F487CD01-A951-11CF-8EE6-00C00C205365", "Marker"),
    ("D6E229DC-35DA-11D1-9034-00A0C90349BE", "Bitrate Mutual Exclusion"),
    ("75B22635-668E-11CF-A6D9-00AA0062CE6C", "Error Correction"),
    ("75B22633-668E-11CF-A6D9-00AA0062CE6C", "Content Description"),
    ("D2D0A440-E307-11D2-97F0-00A0C95EA850", "Extended Content Description"),
    ("2211B3FA-BD23-11D2-B4B7-00A0C955FC6E", "Content Branding"),
    ("7BF875CE-468D-11D1-8D82-006097C9A2B2", "Stream Bitrate Properties"),
    ("2211B3FB-BD23-11D2-B4B7-00A0C955FC6E", "Content Encryption"),
    ("298AE614-2622-4C17-B935-DAE07EE9289C", "Extended Content Encryption"),
    ("2211B3FC-BD23-11D2-B4B7-00A0C955FC6E", "Digital Signature"),
    ("1806D474-CADF-4509-A4BA-9AABCB96AAE8", "Padding"),
    # header extension
    ("14E6A5CB-C672-4332-8399-A96952065B5A", "Extended Stream Properties"),
    ("A08649CF-4775-4670-8A16-6E35357566CD", "Advanced Mutual Exclusion"),
    ("D1465A40-5A79-4338-B71B-E36B8FD6C249", "Group Mutual Exclusion"),
    ("D4FED15B-88D3-454F-81F0-ED5C45999E24", "Stream Prioritization"),
    ("A69609E6-517B-11D2-B6AF-00C04FD908E9", "Bandwidth Sharing"),
    ("7C4346A9-EFE0-4BFC-B229-393EDE415C85", "Language List"),
    ("C5F8CBEA-5BAF-4877-8467-AA8C44FA4CCA", "Metadata"),
    ("44231C94-9498-49D1-A141-1D134E457054", "Metadata Library"),
    ("D6E229DF-35DA-11D1-9034-00A0C90349BE", "Index Parameters"),
    ("6B203BAD-3F11-48E4-ACA8-D7613DE2CFA7", "Media Object Index Parameters"),
    ("F55E496D-9797-4B5D-8C8B-604DFE9BFB24", "Timecode Index Parameters"),
    ("26F18B5D-4584-47EC-9F5F-0E651F0452C9", "Compatibility"),
    ("43058533-6981-49E6-9B74-AD12CB86D58C", "Advanced Content Encryption"),
    # stream type / format
    ("F8699E40-5B4D-11CF-A8FD-00805F5C442B", "Audio Media"),
    ("BC19EFC0-5B4D-11CF-A8FD-00805F5C442B", "Video Media"),
    ("59DACFC0-59E6-11D0-A3AC-00A0C90348F6", "Command Media"),
    ("B61BE100-5B4E-11CF-A8FD-00805F5C442B", "JFIF Media"),
    ("35907DE0-E415-11CF-A917-00805F5C442B", "Degradable JPEG Media"),
    ("91BD222C-F21C-497A-8B6D-5AA86BFC0185", "File Transfer Media"),
    ("3AFB65E2-47EF-40F2-AC2C-70A90D71D343", "Binary Media"),
    ("776257D4-C627-41CB-8F81-7AC7FF1C40CC", "Web stream subtype"),
    ("DA1E6B13-8359-4050-B398-388E965BF00C", "Web stream format"),
    (
        "31178C9D-03E1-4528-B582-3DF9DB22F503",
        "Audio inside Binary/ext stream (DVR-MS)",
    ),
    # error correction
    ("20FB5700-5B55-11CF-A8FD-00805F5C442B", "No Error Correction"),
    ("BFC3CD50-618F-11CF-8BB2-00AA00B4E220", "Audio Spread"),
    # reserved
    ("ABD3D211-A9BA-11CF-8EE6-00C00C205365", "Reserved 1 (Header Extension)"),
    ("86D15241-311D-11D0-A3A4-00A0C90348F6", "Reserved 2 (Codec List)"),
    ("4B1ACBE3-100B-11D0-A39B-00A0C90348F6", "Reserved 3 (Script Command)"),
    ("4CFEDB20-75F6-11CF-9C0F-00A0C90349CB", "Reserved 4 (Marker)"),
    # mutual exclusion type
    ("D6E22A00-35DA-11D1-9034-00A0C90349BE", "Language"),
    ("D6E22A01-35DA-11D1-9034-00A0C90349BE", "Bitrate"),
    ("D6E22A02-35DA-11D1-9034-00A0C90349BE", "Unknown"),
    # bandwidth sharing
    ("AF6060AA-5197-11D2-B6AF-00C04FD908E9", "Bandwidth sharing exclusive"),
    ("AF6060AB-5197-11D2-B6AF-00C04FD908E9", "Bandwidth sharing partial"),
    # payload extension
    ("399595EC-8667-4E2D-8FDB-98814CE76C1E", "Timecode"),
    ("E165EC0E-19ED-45D7-B4A7-25CBD1E28E9B", "File Name"),
    ("D590DC20-07BC-436C-9CF7-F3BBFBF1A4DC", "Content Type"),
    ("1B1EE554-F9EA-4BC8-821A-376B74E4C4B8", "Pixel Aspect Ratio"),
    ("C6BD9450-867F-4907-83A3-C77921B733AD", "Sample Duration"),
    ("6698B84E-0AFA-4330-AEB2-1C0A98D7A44D", "Encryption Sample ID"),
    ("00E1AF06-7BEC-11D1-A582-00C04FC29CFB", "Degradable JPEG"),
    ("76376591-795F-4DA1-86ED-9D46ECA10949", "Encryption Key ID"),
    ("F72A3C6F-6EB4-4EBC-B192-09AD9759E828", "Output Cleanpoint"),
    ("DD6432CC-E229-40DB-80F6-D26328D2761F", "DVR-MS video frame rep data"),
    ("1135BEB7-3A39-478A-98D9-15C76B00EB69", "DVR-MS timestamp rep data"),
    # DRM
    ("7A079BB6-DAA4-4E12-A5CA-91D38DC11A8D", "WM DRM for Network Devices system id"),
)

NAMES: dict[bytes, str] = {uuid.UUID(text).bytes_le: name for text, name in _TABLE}
"""Name by the 16 bytes as they stand in a file: the first three groups are little-endian."""

_BY_NAME: dict[str, bytes] = {name: guid for guid, name in NAMES.items()}


def guid_text(guid: bytes) -> str:
    """A GUID as text in braces; anything but 16 bytes in hex."""
    if len(guid) != 16:
        return "{" + guid.hex() + "}"
    return "{" + str(uuid.UUID(bytes_le=guid)).upper() + "}"


def guid_name(guid: bytes) -> str:
    """The name of a GUID, or its text when it has none."""
    return NAMES.get(guid) or guid_text(guid)


def guid_of(name: str) -> bytes:
    """The 16 bytes of a named GUID, as they stand in a file.

    Raises
    ------
    KeyError
        There is no GUID of that name.
    """
    return _BY_NAME[name]
