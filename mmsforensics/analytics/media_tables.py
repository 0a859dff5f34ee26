"""The tables of recovered media: files, what is missing of them, and where each byte comes from."""

from __future__ import annotations

from mmsforensics.analytics.columns import CAPTURE_ID, MEDIA_ID, SESSION_ID, table

MEDIA = table(
    "media",
    "Recovered media files.",
    ("media_id", "string", "", "identifier in this case"),
    SESSION_ID,
    (
        "kind",
        "string",
        "",
        "faithful: the bytes as sent; playable: the same made right for players; packets: media "
        "packets whose header was not captured; header: a header of which no packet was captured; "
        "merged: several viewers' faithful files joined (docs/sessions.md)",
    ),
    ("path", "string", "", "path in the case folder"),
    ("sha256", "string", "", "SHA-256 of the file, hex"),
    ("size", "uint64", "bytes", "size of the file"),
    ("packets", "uint64", "ASF packets", "packets in the file"),
    ("packets_missing", "uint64", "ASF packets", "packets known to be missing from the capture"),
    (
        "complete",
        "bool",
        "",
        "whether the server said it had sent everything and nothing of it is missing",
    ),
    ("verdict", "string", "", "how much of it was recovered; words defined in docs/sessions.md"),
    (
        "acked_unseen_bytes",
        "uint64",
        "bytes",
        "bytes of its stream that the client acknowledged and the capture does not hold; null "
        "without acknowledgements",
    ),
    (
        "seen_unacked_bytes",
        "uint64",
        "bytes",
        "bytes of it that were captured and never acknowledged",
    ),
    (
        "encrypted",
        "bool",
        "",
        "whether the header says that streams are encrypted (DRM): recovered, not playable without a licence",
    ),
    ("duration_ms", "int64", "ms", "play time by the header; null for a live stream"),
    ("title", "string", "", "Content Description"),
    ("author", "string", "", "Content Description"),
    ("copyright", "string", "", "Content Description"),
    ("description", "string", "", "Content Description"),
    ("notes", "list<string>", "", "why a playable file was made, and what was repaired in it"),
    ("merged_from", "list<string>", "", "media that a merged one was joined from; else empty"),
    (
        "header_from",
        "string",
        "",
        "medium whose header was borrowed, or station file that gave it; null if none was",
    ),
    (
        "header_proof",
        "string",
        "",
        "why that one: proven (a packet of the same number has the same bytes there) or consistent; "
        "station file: it names the group, the port and the Format ID of the packets; synthesised: "
        "no medium lent one, and it was made of the MPEG audio frames that objects begin with",
    ),
)

VERDICTS = table(
    "verdicts",
    "Why a medium has its verdict, one row for each reason; of the faithful file, whose verdict the "
    "playable one shares.",
    MEDIA_ID,
    SESSION_ID,
    ("reason", "string", "", "one of docs/sessions.md"),
    ("count", "uint64", "", "packets or bytes that it speaks of; null if none"),
    ("text", "string", "", "the reason in one sentence"),
    CAPTURE_ID,
    ("frame", "uint64", "", "frame that shows it; null if none does"),
)

LOSS = table(
    "loss",
    "The loss map: runs of consecutive packets that are missing or hurt, a row for each run and each "
    "media stream that it affects.",
    SESSION_ID,
    ("media_id", "string", "", "medium it belongs to, the faithful file"),
    (
        "run",
        "uint64",
        "",
        "number of the run in the medium, from 1; its rows differ by stream",
    ),
    ("first_packet", "uint64", "", "LocationId of the first one; null if it cannot be told"),
    ("last_packet", "uint64", "", "LocationId of the last one; null if it cannot be told"),
    ("packets", "uint64", "ASF packets", "packets of the run"),
    (
        "inferred",
        "bool",
        "",
        "whether the numbers only bound the run: nothing behind it tells, or numbers were left out",
    ),
    ("reason", "string", "", "one of docs/sessions.md"),
    ("packets_hurt", "uint64", "ASF packets", "packets of the run of which something was seen"),
    ("bytes_seen", "uint64", "bytes", "bytes of these that were captured"),
    (
        "bytes_recovered",
        "uint64",
        "bytes",
        "bytes of the run that stand in the playable file: seen, or from parity",
    ),
    (
        "payloads_recovered",
        "uint64",
        "payloads",
        "payloads wholly seen or computed, which stand there",
    ),
    (
        "packets_restored",
        "uint64",
        "ASF packets",
        "packets of the run that were computed from parity: in the playable file, inferred",
    ),
    ("stream_number", "uint8", "", "media stream it affects; null if no payload near it can be read"),
    (
        "start_ms",
        "int64",
        "ms",
        "presentation time, less preroll, of the stream's last payload before; null if none is near",
    ),
    ("end_ms", "int64", "ms", "and of its first payload behind; null if none is near"),
    CAPTURE_ID,
    ("frame", "uint64", "", "first frame behind the hole; null if there is none"),
)

MEDIA_STREAMS = table(
    "media_streams",
    "Streams that a medium's header declares.",
    MEDIA_ID,
    ("stream_number", "uint8", "", "1 to 127"),
    ("type", "string", "", "audio, video, script, image, file or binary"),
    ("codec", "string", "", "codec, by the name ffmpeg uses; its tag when it has none"),
    ("bitrate", "uint64", "bit/s", "bit rate that the header declares"),
    ("width", "uint32", "pixels", "video"),
    ("height", "uint32", "pixels", "video"),
    ("channels", "uint16", "", "audio"),
    ("sample_rate", "uint32", "Hz", "audio"),
    ("encrypted", "bool", "", "whether the stream is declared encrypted"),
)

MEDIA_PACKETS = table(
    "media_packets",
    "ASF data packets in the order of sending.",
    SESSION_ID,
    (
        "packet_number",
        "uint64",
        "",
        "LocationId: number in the content; counted here for pushed media, which carry none; "
        "null where unknown",
    ),
    ("send_time_ms", "uint32", "ms", "send time in the packet"),
    ("ts", "time", "ns", "time stamp of the frame that completed the packet"),
    ("size", "uint32", "bytes", "bytes on the wire, stripped padding not counted"),
    ("file_offset", "uint64", "bytes", "offset in the file of `media_id`"),
    ("frame", "uint64", "", "frame that completed the packet"),
    CAPTURE_ID,
    MEDIA_ID,
    ("first_frame", "uint64", "", "frame with the packet's first byte"),
    ("first_capture_id", "string", "", "capture that frame was seen in"),
    ("duration_ms", "uint16", "ms", "duration in the packet"),
    ("sequence", "uint8", "", "AFFlags: the low 8 bits of the sequence number"),
    ("incarnation", "uint8", "", "playIncarnation"),
    ("sound", "bool", "", "whether it parses as an ASF data packet"),
)

PROVENANCE = table(
    "provenance",
    "Where each byte of a recovered file comes from; the rows of a medium cover it without hole.",
    MEDIA_ID,
    ("file_offset", "uint64", "bytes", "first byte of the stretch in the file"),
    ("length", "uint64", "bytes", "length of the stretch"),
    CAPTURE_ID,
    ("frame", "uint64", "", "frame it was copied from; null for bytes that no frame holds"),
    ("frame_offset", "uint32", "bytes", "first byte of the stretch in the frame"),
    (
        "kind",
        "string",
        "",
        "captured, padding, repaired or index; restored: computed from parity (table restored); "
        "decoded: of a content coding of HTTP, or of a header that came as text; with a frame, three "
        "bytes of four base64 characters",
    ),
)

RESTORED = table(
    "restored",
    "Packets that were not seen and were computed from parity: inferred, and in the playable file "
    "alone. One row for each stretch of the packets whose XOR one is (docs/protocols.md).",
    SESSION_ID,
    ("media_id", "string", "", "medium it belongs to, the faithful file"),
    ("packet_number", "uint64", "", "dwPacketID of the packet that was computed"),
    ("size", "uint32", "bytes", "its bytes"),
    ("sha256", "string", "", "SHA-256 of its bytes, hex"),
    ("source_number", "uint64", "", "dwPacketID of a packet of its cycle"),
    ("source_parity", "bool", "", "whether that is the parity packet"),
    ("source_offset", "uint32", "bytes", "where in that packet the stretch begins"),
    ("length", "uint32", "bytes", "length of the stretch"),
    CAPTURE_ID,
    ("frame", "uint64", "", "frame it lies in"),
    ("frame_offset", "uint32", "bytes", "first byte of the stretch in the frame"),
)

MERGES = table(
    "merges",
    "What copies of the same content gave to a merged medium, and where they disagree.",
    ("media_id", "string", "", "merged medium; null where nothing was merged"),
    (
        "kind",
        "string",
        "",
        "run: packets taken from one copy; disagreement: a version of a packet of which there are "
        "several; refused: a copy that was not joined",
    ),
    ("first_packet", "uint64", "", "LocationId; null for refused"),
    ("last_packet", "uint64", "", "LocationId; null for refused"),
    ("packets", "uint64", "ASF packets", "packets in the run; of a refused copy those compared"),
    ("source_media_id", "string", "", "run: medium whose bytes were taken; refused: the copy"),
    ("copies", "uint32", "copies", "run: copies that hold each packet, in whatever version"),
    (
        "media_ids",
        "list<string>",
        "",
        "disagreement: media that hold this version; refused: the others",
    ),
    ("kept", "bool", "", "disagreement: whether this version is the one in the merged medium"),
    (
        "sha256",
        "string",
        "",
        "disagreement: SHA-256 of the packet as it lies in the first of `media_ids`, hex",
    ),
    (
        "first_difference",
        "uint32",
        "bytes",
        "disagreement: offset in the packet of the first byte that differs from the kept version",
    ),
    ("reason", "string", "", "refused: why"),
)
