"""ASF: the object tree, data packets, payloads and media objects, padding, playable files.

Usable without any capture; knows nothing of networks. `open` reads a file:

>>> from mmsforensics import asf
>>> with asf.open("film.wmv") as film:  # doctest: +SKIP
...     film.streams, film.media_objects()
"""

from mmsforensics.asf.edits import EDIT, Edit
from mmsforensics.asf.elementary import STREAM_OBJECT, codec_data, extension_of, write_stream
from mmsforensics.asf.extensions import EXTENSION, ExtensionSystem, extension_value
from mmsforensics.asf.file import AsfError, AsfFile, PayloadBatch
from mmsforensics.asf.file import open_asf as open
from mmsforensics.asf.guids import guid_name
from mmsforensics.asf.header import Header, StreamInfo, Tag, parse_header
from mmsforensics.asf.matching import MATCH, PART, PayloadIndex, find_payloads, payload_index, places
from mmsforensics.asf.media_objects import MEDIA_OBJECT, Assembler
from mmsforensics.asf.packets import ASF_PACKET, PAYLOAD, Reason, walk_packets, walk_payloads
from mmsforensics.asf.padding import RESTORED, restore_padding
from mmsforensics.asf.playable import (
    PlayableFacts,
    PlayableResult,
    needs_playable,
    write_playable,
)
from mmsforensics.asf.salvaged import NEW, Salvaged, salvage
from mmsforensics.asf.synthesised import MpegAudio, mpeg_audio, mpeg_audio_header
from mmsforensics.asf.tree import AsfObject, HeaderProblem, write_object
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
    "EXTENSION",
    "MATCH",
    "MEDIA_OBJECT",
    "NEW",
    "PART",
    "PAYLOAD",
    "RESTORED",
    "STREAM_OBJECT",
    "AsfError",
    "AsfFile",
    "AsfObject",
    "Assembler",
    "CommandReader",
    "Edit",
    "ExtensionSystem",
    "Header",
    "HeaderProblem",
    "Marker",
    "MpegAudio",
    "PayloadBatch",
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
    "codec_data",
    "extension_of",
    "extension_value",
    "find_payloads",
    "guid_name",
    "markers",
    "mpeg_audio",
    "mpeg_audio_header",
    "needs_playable",
    "open",
    "parse_header",
    "payload_index",
    "pictures",
    "places",
    "protections",
    "restore_padding",
    "salvage",
    "script_commands",
    "walk_packets",
    "walk_payloads",
    "write_object",
    "write_playable",
    "write_stream",
]
