"""ASF: the header's object tree, data packets and payloads, padding, playable files.

Usable without any capture; knows nothing of networks.
"""

from mmsforensics.asf.guids import guid_name
from mmsforensics.asf.header import AsfObject, Header, HeaderProblem, StreamInfo, Tag, parse_header
from mmsforensics.asf.matching import MATCH, PART, PayloadIndex, find_payloads, payload_index
from mmsforensics.asf.packets import ASF_PACKET, PAYLOAD, Reason, walk_packets, walk_payloads
from mmsforensics.asf.padding import RESTORED, restore_padding
from mmsforensics.asf.playable import (
    EDIT,
    Edit,
    PlayableFacts,
    PlayableResult,
    needs_playable,
    write_playable,
)
from mmsforensics.asf.salvaged import NEW, Salvaged, salvage
from mmsforensics.asf.views import (
    CommandReader,
    Marker,
    Picture,
    Protection,
    ScriptCommand,
    markers,
    pictures,
    protections,
    script_commands,
)

__all__ = [
    "ASF_PACKET",
    "EDIT",
    "MATCH",
    "NEW",
    "PART",
    "PAYLOAD",
    "RESTORED",
    "AsfObject",
    "CommandReader",
    "Edit",
    "Header",
    "HeaderProblem",
    "Marker",
    "PayloadIndex",
    "Picture",
    "PlayableFacts",
    "PlayableResult",
    "Protection",
    "Reason",
    "Salvaged",
    "ScriptCommand",
    "StreamInfo",
    "Tag",
    "find_payloads",
    "guid_name",
    "markers",
    "needs_playable",
    "parse_header",
    "payload_index",
    "pictures",
    "protections",
    "restore_padding",
    "salvage",
    "script_commands",
    "walk_packets",
    "walk_payloads",
    "write_playable",
]
