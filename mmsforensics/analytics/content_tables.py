"""The tables of what media carry beside their streams: tags, commands, markers, pictures, protections."""

from __future__ import annotations

from mmsforensics.analytics.columns import CAPTURE_ID, MEDIA_ID, SESSION_ID, table

METADATA = table(
    "metadata",
    "Everything that a medium's header says about it.",
    MEDIA_ID,
    ("name", "string", "", "name of the attribute"),
    ("type", "string", "", "type of the value in the header"),
    ("value", "string", "", "value as text; binary values in hex"),
    ("source_object", "string", "", "ASF object it stands in"),
)

SCRIPT_COMMANDS = table(
    "script_commands",
    "Commands for the player that a medium carries: links to open, captions, other files to play.",
    MEDIA_ID,
    SESSION_ID,
    ("time_ms", "int64", "ms", "presentation time as the medium gives it"),
    ("play_ms", "int64", "ms", "the same from the beginning of play: less the preroll"),
    ("type", "string", "", "URL, FILENAME, TEXT, CAPTION, EVENT, ... as the medium says it"),
    ("value", "string", "", "the command's parameter, as it stands there; nothing of it was opened"),
    ("stream_number", "uint8", "", "stream that carried it; null for the header's"),
    ("packet", "uint64", "", "index in the file of the packet it begins in; null for the header's"),
    ("ts", "time", "ns", "time of the frame that completed that packet"),
    CAPTURE_ID,
    ("frame", "uint64", "", "that frame; for the header's the first frame of the header"),
)

MARKERS = table(
    "markers",
    "Named places in a medium.",
    MEDIA_ID,
    SESSION_ID,
    ("time_ms", "int64", "ms", "presentation time as the medium gives it"),
    ("play_ms", "int64", "ms", "the same from the beginning of play: less the preroll"),
    ("send_time_ms", "uint32", "ms", "send time of its packet"),
    ("offset", "uint64", "bytes", "of that packet in the Data Object of the server's file"),
    ("description", "string", "", "its name"),
)

PICTURES = table(
    "pictures",
    "Pictures attached to a medium, as they lie in its header; written beside it.",
    MEDIA_ID,
    SESSION_ID,
    ("number", "uint32", "", "running number in the medium, from 1"),
    ("type", "string", "", "what it shows by its picture type: front cover, artist, ..."),
    ("mime", "string", "", "MIME type that the header states"),
    ("description", "string", "", "what the header calls it"),
    ("path", "string", "", "path in the case folder; the extension is by its first bytes"),
    ("size", "uint64", "bytes", "size of the file"),
    ("sha256", "string", "", "SHA-256 of the file, hex"),
    ("whole", "bool", "", "whether as many bytes are there as the header states"),
    ("source_object", "string", "", "ASF object it stands in"),
)

PROTECTIONS = table(
    "protections",
    "What a medium's header says of encryption (DRM).",
    MEDIA_ID,
    SESSION_ID,
    ("source_object", "string", "", "ASF object that says it"),
    ("system", "string", "", "protection type, or version of the DRM header"),
    ("key_id", "string", "", "identifier of the key"),
    ("licence_url", "string", "", "where a player asks for a licence; nothing of it was opened"),
    ("text", "string", "", "text of the DRM header, as it stands there"),
)
