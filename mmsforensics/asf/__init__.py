"""ASF: the header's object tree, data packets and payloads, padding, playable files.

Usable without any capture; knows nothing of networks.
"""

from mmsforensics.asf.guids import guid_name
from mmsforensics.asf.header import Header, StreamInfo, Tag, parse_header
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
from mmsforensics.asf.tree import AsfObject, HeaderProblem, write_object

__all__ = [
    "ASF_PACKET",
    "EDIT",
    "NEW",
    "PAYLOAD",
    "RESTORED",
    "AsfObject",
    "Edit",
    "Header",
    "HeaderProblem",
    "PlayableFacts",
    "PlayableResult",
    "Reason",
    "Salvaged",
    "StreamInfo",
    "Tag",
    "guid_name",
    "needs_playable",
    "parse_header",
    "restore_padding",
    "salvage",
    "walk_packets",
    "walk_payloads",
    "write_object",
    "write_playable",
]
