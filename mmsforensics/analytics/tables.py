"""The tables of a case: each column's type, unit and meaning, declared once.

The Parquet schema, ``mmsforensics schema`` and `docs/tables.md` are made from this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmsforensics.evidence.log_fields import CLIENT_FIELDS, SERVER_FIELDS, LogField

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1
"""Raised when a column changes its name, type or meaning; new columns do not raise it."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    name: str
    type: str
    """Arrow type by its pyarrow alias; ``time`` is timestamp[ns, tz=UTC]."""
    unit: str
    doc: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a case: one kind of row."""

    name: str
    doc: str
    columns: tuple[Column, ...]


def _table(name: str, doc: str, *columns: tuple[str, str, str, str]) -> Table:
    return Table(name, doc, tuple(Column(*c) for c in columns))


_SESSION = ("session_id", "string", "", "session it belongs to")
_CAPTURE = ("capture_id", "string", "", "capture it was seen in")
_FRAME = ("frame", "uint64", "", "frame number in the capture, 1-based as Wireshark counts")
_MEDIA = ("media_id", "string", "", "medium it belongs to")


def _side(who: str, other: str) -> tuple[tuple[str, str, str, str], ...]:
    """Columns for what one end of a flow sent."""
    return (
        (f"{who}_packets", "uint64", "packets", f"packets from the {who}"),
        (f"{who}_bytes", "uint64", "bytes", f"bytes of the {who}'s frames on the wire"),
        (
            f"{who}_payload_bytes",
            "uint64",
            "bytes",
            f"payload from the {who}, what is sent again counted again",
        ),
        (f"{who}_retransmissions", "uint64", "packets", "packets with bytes that were sent before"),
        (f"{who}_retransmitted_bytes", "uint64", "bytes", "bytes that were sent before"),
        (f"{who}_out_of_order", "uint64", "packets", "packets that were overtaken"),
        (f"{who}_gaps", "uint64", "", f"holes in the {who}'s stream"),
        (f"{who}_gap_bytes", "uint64", "bytes", "bytes in these holes"),
        (f"{who}_acked_bytes", "uint64", "bytes", f"bytes from the {who} that the {other} acknowledged"),
        (f"{who}_acked_unseen_bytes", "uint64", "bytes", "of these, bytes that were not captured"),
        (f"{who}_seen_unacked_bytes", "uint64", "bytes", "bytes captured and never acknowledged"),
        (f"{who}_mss", "uint16", "bytes", f"maximum segment size in the {who}'s SYN"),
        (f"{who}_window_scale", "int8", "bits", f"window scale in the {who}'s SYN; -1 if it has none"),
        (f"{who}_ttl_least", "uint8", "", f"least TTL or hop limit of the {who}'s packets"),
        (f"{who}_ttl_most", "uint8", "", f"largest TTL or hop limit of the {who}'s packets"),
        (f"{who}_mac", "string", "", f"source address of the {who}'s frames on Ethernet"),
        (f"{who}_checksums_bad", "uint64", "packets", "packets whose checksum is wrong"),
        (
            f"{who}_checksums_offloaded",
            "uint64",
            "packets",
            "packets captured before the network card filled their checksum in",
        ),
    )


_LOG_TYPES = {"text": "string", "count": "uint64", "number": "double"}


def _log_columns(fields: tuple[LogField, ...]) -> tuple[tuple[str, str, str, str], ...]:
    """Columns for the fields of a log, each of its type."""
    return tuple((f.column, _LOG_TYPES[f.type], f.unit, f"{f.name}: {f.doc}") for f in fields)


TABLES: dict[str, Table] = {
    t.name: t
    for t in (
        _table(
            "captures",
            "Evidence files.",
            ("capture_id", "string", "", "identifier in this case, in the order given"),
            ("path", "string", "", "path as given; of a member of an archive ``ARCHIVE!MEMBER``"),
            ("container", "string", "", "archive it lay in; null if in none"),
            ("sha256", "string", "", "SHA-256 of the whole file, hex; null if it could not be read whole"),
            ("size", "uint64", "bytes", "size of the file"),
            (
                "format",
                "string",
                "",
                "pcap, pcapng, snoop, netmon; w3c log, nsc or redirector of a document given beside captures;"
                " empty or unknown; told by content",
            ),
            ("wrapping", "list<string>", "", "how the file is compressed, from the outside in"),
            ("link_types", "list<string>", "", "link types of the frames, in order of appearance"),
            ("packets", "uint64", "frames", "frames read"),
            ("first_ts", "time", "ns", "earliest time stamp"),
            ("last_ts", "time", "ns", "latest time stamp"),
            (
                "truncated",
                "bool",
                "",
                "whether some of the file could not be read: it is cut or damaged",
            ),
            ("problems", "list<string>", "", "what is wrong with the file, with byte offsets"),
            ("notes", "list<string>", "", "what the file says of itself: comments, losses, clocks"),
            ("frames_fragment", "uint64", "frames", "IP fragments"),
            (
                "packets_incomplete",
                "uint64",
                "packets",
                "fragmented IP packets of which not all fragments were captured",
            ),
            ("frames_malformed", "uint64", "frames", "frames whose headers are impossible or cut"),
            (
                "frames_duplicate",
                "uint64",
                "frames",
                "frames whose packet another capture of the case gave before; left out here",
            ),
            (
                "clock_offset_ns",
                "int64",
                "ns",
                "time here less time in `clock_reference`, median over frames that both hold",
            ),
            ("clock_reference", "string", "", "capture whose clock this one's was compared with"),
            ("flows", "uint64", "flows", "TCP connections and UDP endpoint pairs that began in it"),
            (
                "unclaimed_datagrams",
                "uint64",
                "datagrams",
                "UDP datagrams that look like MMS data and belong to no session whose control was captured",
            ),
            (
                "undecided_dropped",
                "uint64",
                "frames",
                "frames of flows not yet recognised that were let go to bound memory",
            ),
        ),
        _table(
            "problems",
            "What is wrong with the evidence, place by place.",
            ("capture_id", "string", "", "capture it was found in"),
            ("offset", "uint64", "bytes", "place in the file (unpacked, if it is compressed); null if none"),
            ("frame", "uint64", "", "frame that would have stood there; null if none"),
            ("expected", "string", "", "what the format asks for"),
            ("found", "string", "", "what stands there"),
            ("skipped_offset", "uint64", "bytes", "first byte that was passed over because of it"),
            ("skipped", "uint64", "bytes", "bytes that were passed over because of it"),
            ("message", "string", "", "all of it in one sentence"),
        ),
        _table(
            "sessions",
            "Windows Media sessions: one viewing, whatever carried it.",
            ("session_id", "string", "", "identifier in this case"),
            ("community_id", "string", "", "Community ID v1 of the flow that carried the control messages"),
            ("transport", "string", "", "mmst, mmsu, mmsh, rtsp, push, http, carved, msb or msbd"),
            ("client_ip", "string", "", "address of the player"),
            ("client_port", "uint16", "", "port of the player"),
            ("server_ip", "string", "", "address of the server"),
            ("server_port", "uint16", "", "port of the server"),
            ("url", "string", "", "what was asked for; the scheme is inferred from the transport"),
            ("client_version", "string", "", "player's name and version, as it says"),
            ("server_version", "string", "", "server's version, as it says"),
            ("player_guid", "string", "", "GUID the player gave; many players give a constant"),
            ("start_ts", "time", "ns", "first message"),
            ("end_ts", "time", "ns", "last message"),
            ("outcome", "string", "", "how it came out; words defined in docs/sessions.md"),
            ("media_bytes", "uint64", "bytes", "bytes of `packets_received`, padding not counted"),
            (
                "packets_received",
                "uint64",
                "ASF packets",
                "media packets wholly captured, as they stand in its media; datagrams sent again count once",
            ),
            (
                "packets_missing",
                "uint64",
                "ASF packets",
                "media packets known to be missing from the capture",
            ),
            ("gap_bytes", "uint64", "bytes", "bytes of the session's TCP streams that were not captured"),
            (
                "acked_unseen_bytes",
                "uint64",
                "bytes",
                "bytes that the client acknowledged and the capture does not hold: delivered; null without "
                "acknowledgements",
            ),
            (
                "seen_unacked_bytes",
                "uint64",
                "bytes",
                "bytes for the client that were captured and never acknowledged: perhaps not delivered",
            ),
            (
                "resend_requests",
                "uint64",
                "ASF packets",
                "packets that the client asked to be sent again, not having received them; null but over UDP",
            ),
            (
                "packets_resent",
                "uint64",
                "ASF packets",
                "packets captured once the client had asked for them again; null as above",
            ),
            ("capture_id", "string", "", "capture it was seen in"),
            ("frame", "uint64", "", "first frame of its flow, 1-based"),
        ),
        _table(
            "events",
            "What happened in the sessions, message by message.",
            _SESSION,
            ("ts", "time", "ns", "time stamp of the frame that completed it"),
            _CAPTURE,
            _FRAME,
            ("direction", "string", "", "who said it: client or server"),
            ("event", "string", "", "the specification's name of the message, or one of docs/sessions.md"),
            ("summary", "string", "", "one line for reading"),
            ("details", "string", "JSON", "all fields of the message"),
        ),
        _table(
            "flows",
            "TCP connections and UDP endpoint pairs that were decoded.",
            ("flow_id", "string", "", "identifier in this case"),
            ("session_ids", "list<string>", "", "sessions that it carried"),
            ("community_id", "string", "", "Community ID v1"),
            ("protocol", "string", "", "tcp or udp"),
            (
                "recognised_as",
                "string",
                "",
                "mms, http, rtsp, smb, raw, msb, msbd or unknown; told by content",
            ),
            (
                "client_ip",
                "string",
                "",
                "end that opened it; the one with the lower address if that is unknown",
            ),
            ("client_port", "uint16", "", "port of that end"),
            ("server_ip", "string", "", "the other end"),
            ("server_port", "uint16", "", "port of the other end"),
            ("first_ts", "time", "ns", "first packet"),
            ("last_ts", "time", "ns", "last packet"),
            ("first_capture_id", "string", "", "capture of the first packet"),
            ("first_frame", "uint64", "", "frame of the first packet"),
            ("last_capture_id", "string", "", "capture of the last packet"),
            ("last_frame", "uint64", "", "frame of the last packet"),
            ("rtt_ns", "int64", "ns", "time from the SYN to the first acknowledgement behind it"),
            ("began", "string", "", "handshake, half a handshake, in the middle; of UDP datagram"),
            ("ended", "string", "", "fin, half closed, reset, capture ended; of UDP datagram"),
            ("vlans", "list<string>", "", "VLANs of the first frame, from the outside in"),
            *_side("client", "server"),
            *_side("server", "client"),
        ),
        _table(
            "viewings",
            "What somebody tried to watch: the attempts of one viewing, transport by transport "
            "(docs/redirectors.md).",
            ("viewing_id", "string", "", "identifier in this case"),
            ("session_ids", "list<string>", "", "sessions of the viewing, in order of time"),
            ("content", "string", "", "host, port where it is a special one, and path; null if unknown"),
            ("client_ip", "string", "", "address of the player"),
            ("first_ts", "time", "ns", "begin of the first attempt"),
            ("last_ts", "time", "ns", "last message"),
            (
                "attempts",
                "string",
                "JSON",
                "each attempt in order: transport (inferred from the port where nothing was said), server, "
                "session, whether media came, outcome",
            ),
            ("transports", "list<string>", "", "transports in the order in which they were tried"),
            ("failures", "list<string>", "", "attempts by which no media came, and why"),
            ("transport", "string", "", "transport by which media came first; null if none did"),
            ("session_id", "string", "", "session by which media came first; null if none did"),
            ("outcome", "string", "", "how its last session came out; words defined in docs/sessions.md"),
            ("media_bytes", "uint64", "bytes", "bytes of media packets received in all its sessions"),
            (
                "packets_received",
                "uint64",
                "ASF packets",
                "media packets wholly captured in all its sessions",
            ),
            ("packets_missing", "uint64", "ASF packets", "media packets known to be missing in all of them"),
            ("redirector_url", "string", "", "redirector that led to it; null if none is known"),
            ("redirector_capture_id", "string", "", "capture or file that holds this redirector"),
            ("redirector_frame", "uint64", "", "its frame in that table; null for one given as a file"),
            ("capture_id", "string", "", "capture in which its first session was seen"),
            ("frame", "uint64", "", "first frame of that session's flow, 1-based"),
        ),
        _table(
            "redirectors",
            "What sent players elsewhere: ASX and other redirectors, seen or given as evidence, "
            "messages that redirect and script commands; a row for each address named and each session it "
            "led to (docs/redirectors.md).",
            ("session_id", "string", "", "session that it led to; null if none is known"),
            ("capture_id", "string", "", "capture it was seen in, or the file itself"),
            (
                "frame",
                "uint64",
                "",
                "where it begins, of a message or header where it ends; null for a file",
            ),
            ("ts", "time", "ns", "time stamp of that frame"),
            ("client_ip", "string", "", "who was sent elsewhere; null for one given as a file"),
            ("server_ip", "string", "", "who sent it"),
            ("url", "string", "", "address of the redirector; null for one given as a file"),
            ("kind", "string", "", "asx, nsc and so on; of messages and commands as in docs/redirectors.md"),
            ("title", "string", "", "TITLE of the whole"),
            ("author", "string", "", "AUTHOR of the whole"),
            ("entry", "uint32", "", "number of the entry, from 1; null if nothing is named"),
            ("alternative", "uint32", "", "which of the entry's addresses, from 1, in the order of trying"),
            ("names", "string", "", "ref, location, entryref (another redirector) or multicast"),
            ("href", "string", "", "address as it is written"),
            ("target", "string", "", "the same, a relative one resolved"),
            ("entry_title", "string", "", "TITLE of the entry"),
            ("entry_author", "string", "", "AUTHOR of the entry"),
            ("start_ms", "int64", "ms", "STARTTIME of the entry; null if it has none"),
            ("duration_ms", "int64", "ms", "DURATION of the entry; null if it has none"),
            ("params", "string", "JSON", "PARAM elements of the entry and of the whole"),
            ("joined_by", "string", "", "why that session; null if none"),
            ("carried_by", "string", "", "session in whose exchange it was seen; null if in none"),
            ("whole", "bool", "", "whether all of it was captured and read"),
        ),
        _table(
            "anomalies",
            "What is odd about the traffic of decoded flows, packet by packet; kinds in docs/reassembly.md.",
            _SESSION,
            ("flow_id", "string", "", "flow it was seen in"),
            ("direction", "string", "", "who sent it: client or server"),
            _CAPTURE,
            _FRAME,
            ("ts", "time", "ns", "time stamp of the frame"),
            ("stream_offset", "uint64", "bytes", "place in the direction's stream; null where there is none"),
            ("kind", "string", "", "what it is"),
            ("severity", "string", "", "info, low, medium or high"),
            ("size", "uint64", "bytes", "bytes concerned"),
            ("details", "string", "JSON", "what else is known, by kind"),
        ),
        _table(
            "media",
            "Recovered media files.",
            ("media_id", "string", "", "identifier in this case"),
            _SESSION,
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
                "whether the header says that streams are encrypted (DRM): recovered, not playable without "
                "a licence",
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
        ),
        _table(
            "verdicts",
            "Why a medium has its verdict, one row for each reason; of the faithful file, whose verdict the "
            "playable one shares.",
            _MEDIA,
            _SESSION,
            ("reason", "string", "", "one of docs/sessions.md"),
            ("count", "uint64", "", "packets or bytes that it speaks of; null if none"),
            ("text", "string", "", "the reason in one sentence"),
            _CAPTURE,
            ("frame", "uint64", "", "frame that shows it; null if none does"),
        ),
        _table(
            "loss",
            "The loss map: runs of consecutive packets that are missing or hurt, a row for each run and each "
            "media stream that it affects.",
            _SESSION,
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
            _CAPTURE,
            ("frame", "uint64", "", "first frame behind the hole; null if there is none"),
        ),
        _table(
            "media_streams",
            "Streams that a medium's header declares.",
            _MEDIA,
            ("stream_number", "uint8", "", "1 to 127"),
            ("type", "string", "", "audio, video, script, image, file or binary"),
            ("codec", "string", "", "codec, by the name ffmpeg uses; its tag when it has none"),
            ("bitrate", "uint64", "bit/s", "bit rate that the header declares"),
            ("width", "uint32", "pixels", "video"),
            ("height", "uint32", "pixels", "video"),
            ("channels", "uint16", "", "audio"),
            ("sample_rate", "uint32", "Hz", "audio"),
            ("encrypted", "bool", "", "whether the stream is declared encrypted"),
        ),
        _table(
            "media_packets",
            "ASF data packets in the order of sending.",
            _SESSION,
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
            _CAPTURE,
            _MEDIA,
            ("first_frame", "uint64", "", "frame with the packet's first byte"),
            ("first_capture_id", "string", "", "capture that frame was seen in"),
            ("duration_ms", "uint16", "ms", "duration in the packet"),
            ("sequence", "uint8", "", "AFFlags: the low 8 bits of the sequence number"),
            ("incarnation", "uint8", "", "playIncarnation"),
            ("sound", "bool", "", "whether it parses as an ASF data packet"),
        ),
        _table(
            "provenance",
            "Where each byte of a recovered file comes from; the rows of a medium cover it without hole.",
            _MEDIA,
            ("file_offset", "uint64", "bytes", "first byte of the stretch in the file"),
            ("length", "uint64", "bytes", "length of the stretch"),
            _CAPTURE,
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
        ),
        _table(
            "restored",
            "Packets that were not seen and were computed from parity: inferred, and in the playable file "
            "alone. One row for each stretch of the packets whose XOR one is (docs/protocols.md).",
            _SESSION,
            ("media_id", "string", "", "medium it belongs to, the faithful file"),
            ("packet_number", "uint64", "", "dwPacketID of the packet that was computed"),
            ("size", "uint32", "bytes", "its bytes"),
            ("sha256", "string", "", "SHA-256 of its bytes, hex"),
            ("source_number", "uint64", "", "dwPacketID of a packet of its cycle"),
            ("source_parity", "bool", "", "whether that is the parity packet"),
            ("source_offset", "uint32", "bytes", "where in that packet the stretch begins"),
            ("length", "uint32", "bytes", "length of the stretch"),
            _CAPTURE,
            ("frame", "uint64", "", "frame it lies in"),
            ("frame_offset", "uint32", "bytes", "first byte of the stretch in the frame"),
        ),
        _table(
            "stations",
            "Station files of multicast (.nsc): what they say is sent where.",
            _SESSION,
            _CAPTURE,
            (
                "frame",
                "uint64",
                "",
                "frame that completed its first stretch; null for one given beside captures",
            ),
            ("url", "string", "", "where it was fetched, or the name of the file"),
            ("whole", "bool", "", "whether all of it was captured"),
            ("name", "string", "", "machine and publishing point, as it says"),
            ("address", "string", "", "multicast group"),
            ("port", "uint16", "", "UDP port"),
            ("multicast_adapter", "string", "", "source address of the packets"),
            ("ttl", "uint32", "", "Time To Live"),
            ("default_ecc", "uint32", "packets", "most packets of a cycle of error correction"),
            ("log_url", "string", "", "where players send their logs"),
            ("unicast_url", "string", "", "where players go when the multicast does not come"),
            (
                "formats",
                "list<string>",
                "",
                "each format: its Format ID, description, size of its ASF header",
            ),
            ("problems", "list<string>", "", "what is wrong with it: checksums, lengths, values"),
            ("details", "string", "JSON", "all properties, decoded"),
        ),
        _table(
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
        ),
        _table(
            "client_log",
            "What players reported of their playing, beside what the capture holds; docs/logs.md.",
            ("session_id", "string", "", "session that it speaks of; null if none is known"),
            _CAPTURE,
            _FRAME,
            ("ts", "time", "ns", "time stamp of the frame"),
            ("carrier", "string", "", "what carried it; words in docs/logs.md"),
            ("url", "string", "", "content that it speaks of: cs-uri-stem, or else cs-url"),
            ("posted_to", "string", "", "target of the request that carried it; null over MMS"),
            ("client_ip", "string", "", "address that sent it"),
            ("server_ip", "string", "", "address that it was sent to"),
            ("form", "string", "", "line, xml or binary"),
            (
                "kind",
                "string",
                "",
                "legacy, streaming, rendering or connect-time; null if that can't be told",
            ),
            ("whole", "bool", "", "whether it was captured whole"),
            ("logged_ts", "time", "ns", "date and time of the log, by the player's clock, in UTC"),
            (
                "clock_difference_s",
                "double",
                "s",
                "`logged_ts` less `ts`: player's clock, and time until it was sent",
            ),
            *_log_columns(CLIENT_FIELDS),
            ("more", "string", "JSON", "content description, a vendor's fields, what else CLIENT_LOG holds"),
            ("problems", "list<string>", "", "what is not as the specification asks for"),
            (
                "match",
                "string",
                "",
                "how its session is known: carrier, strong, fair, weak; ambiguous or null",
            ),
            ("match_reasons", "list<string>", "", "evidence for that"),
            (
                "captured_packets",
                "uint64",
                "ASF packets",
                "packets captured of the stretch that it speaks of",
            ),
            ("captured_bytes", "uint64", "bytes", "their bytes"),
            ("captured_ms", "int64", "ms", "time from the session's first media packet to the log"),
            (
                "captured_packets_missing",
                "uint64",
                "ASF packets",
                "packets of the session known to be missing",
            ),
            (
                "completeness",
                "double",
                "",
                "share of what it counts that was captured; null if that can't be said",
            ),
            ("completeness_basis", "string", "", "packets or bytes"),
            ("completeness_note", "string", "", "why there is none"),
        ),
        _table(
            "server_log",
            "Lines of servers' logs given beside captures, and the sessions they speak of; docs/logs.md.",
            ("session_id", "string", "", "session that it is matched with; null if none"),
            ("capture_id", "string", "", "log file"),
            ("line", "uint64", "", "line in it, from 1"),
            ("ts", "time", "ns", "date and time of the line in UTC, by the server's clock"),
            ("ts_basis", "string", "", "stated UTC, stated offset or assumed UTC; docs/logs.md"),
            *_log_columns(SERVER_FIELDS),
            ("other", "string", "", "fields without a column of their own, as NAME=VALUE"),
            ("software", "string", "", "#Software above the line"),
            ("software_version", "string", "", "#Version above the line"),
            ("problems", "list<string>", "", "values that are none of their type"),
            ("match", "string", "", "how well it is matched: strong, fair, weak; ambiguous or null"),
            ("match_reasons", "list<string>", "", "evidence for that"),
            (
                "time_difference_s",
                "double",
                "s",
                "time less the session's nearest, clock and zone taken off",
            ),
        ),
        _table(
            "log_disagreements",
            "Where a log and the capture cannot both be the whole truth, field by field; docs/logs.md.",
            _SESSION,
            ("log", "string", "", "client or server"),
            ("capture_id", "string", "", "capture that carried the log, or the log file"),
            ("frame", "uint64", "", "frame that carried a client's log"),
            ("line", "uint64", "", "line of a server's log, from 1"),
            ("field", "string", "", "field of the log"),
            ("logged", "string", "", "what the log says"),
            ("captured", "string", "", "what the capture says"),
            ("text", "string", "", "what it may mean"),
        ),
        _table(
            "credentials",
            "Who authenticated, and what of it travelled; docs/credentials.md.",
            _SESSION,
            _CAPTURE,
            _FRAME,
            ("ts", "time", "ns", "time stamp of the frame"),
            ("role", "string", "", "challenge of a server or proxy, or answer of a client"),
            ("carrier", "string", "", "header, message or URL that carried it"),
            ("client_ip", "string", "", "address of the client"),
            ("client_port", "uint16", "", "its port"),
            ("server_ip", "string", "", "address of the server"),
            ("server_port", "uint16", "", "its port"),
            ("scheme", "string", "", "basic, digest, ntlm, ntlm v1, ntlm v2, negotiate kerberos, url, …"),
            ("user", "string", "", "user name"),
            ("domain", "string", "", "domain that the client names; of a challenge, the server's"),
            ("host", "string", "", "host that the client says it is; of a challenge, the server's name"),
            ("realm", "string", "", "realm of Basic and Digest"),
            ("target", "string", "", "what was asked for"),
            ("secret", "string", "", "password or token sent in clear; ******** unless secrets are shown"),
            ("hash_line", "string", "", "the exchange in the form of hashcat; null where it has none"),
            ("hashcat_mode", "uint32", "", "hashcat's number for it: 5500, 5600, 11400"),
            ("answered", "string", "", "what the server answered: status, or HRESULT; null if not captured"),
            ("times", "uint32", "", "how often it was said on the connection"),
            ("replayed", "bool", "", "whether an earlier connection gave the same answer"),
            ("details", "string", "JSON", "parameters, flags, names, the server's clock"),
            ("problem", "string", "", "what is wrong with it, or why there is no hash line"),
        ),
        _table(
            "metadata",
            "Everything that a medium's header says about it.",
            _MEDIA,
            ("name", "string", "", "name of the attribute"),
            ("type", "string", "", "type of the value in the header"),
            ("value", "string", "", "value as text; binary values in hex"),
            ("source_object", "string", "", "ASF object it stands in"),
        ),
        _table(
            "script_commands",
            "Commands for the player that a medium carries: links to open, captions, other files to play.",
            _MEDIA,
            _SESSION,
            ("time_ms", "int64", "ms", "presentation time as the medium gives it"),
            ("play_ms", "int64", "ms", "the same from the beginning of play: less the preroll"),
            ("type", "string", "", "URL, FILENAME, TEXT, CAPTION, EVENT, ... as the medium says it"),
            ("value", "string", "", "the command's parameter, as it stands there; nothing of it was opened"),
            ("stream_number", "uint8", "", "stream that carried it; null for the header's"),
            ("packet", "uint64", "", "index in the file of the packet it begins in; null for the header's"),
            ("ts", "time", "ns", "time of the frame that completed that packet"),
            _CAPTURE,
            ("frame", "uint64", "", "that frame; for the header's the first frame of the header"),
        ),
        _table(
            "markers",
            "Named places in a medium.",
            _MEDIA,
            _SESSION,
            ("time_ms", "int64", "ms", "presentation time as the medium gives it"),
            ("play_ms", "int64", "ms", "the same from the beginning of play: less the preroll"),
            ("send_time_ms", "uint32", "ms", "send time of its packet"),
            ("offset", "uint64", "bytes", "of that packet in the Data Object of the server's file"),
            ("description", "string", "", "its name"),
        ),
        _table(
            "pictures",
            "Pictures attached to a medium, as they lie in its header; written beside it.",
            _MEDIA,
            _SESSION,
            ("number", "uint32", "", "running number in the medium, from 1"),
            ("type", "string", "", "what it shows by its picture type: front cover, artist, ..."),
            ("mime", "string", "", "MIME type that the header states"),
            ("description", "string", "", "what the header calls it"),
            ("path", "string", "", "path in the case folder; the extension is by its first bytes"),
            ("size", "uint64", "bytes", "size of the file"),
            ("sha256", "string", "", "SHA-256 of the file, hex"),
            ("whole", "bool", "", "whether as many bytes are there as the header states"),
            ("source_object", "string", "", "ASF object it stands in"),
        ),
        _table(
            "protections",
            "What a medium's header says of encryption (DRM).",
            _MEDIA,
            _SESSION,
            ("source_object", "string", "", "ASF object that says it"),
            ("system", "string", "", "protection type, or version of the DRM header"),
            ("key_id", "string", "", "identifier of the key"),
            ("licence_url", "string", "", "where a player asks for a licence; nothing of it was opened"),
            ("text", "string", "", "text of the DRM header, as it stands there"),
        ),
    )
}


def arrow_schema(table: Table) -> pa.Schema:
    """The Arrow schema of a table, with unit and meaning in each field's metadata."""
    import pyarrow as pa

    types = {"time": pa.timestamp("ns", tz="UTC"), "list<string>": pa.list_(pa.string())}
    return pa.schema(
        [
            pa.field(
                c.name,
                types.get(c.type) or pa.type_for_alias(c.type),
                metadata={"unit": c.unit, "doc": c.doc},
            )
            for c in table.columns
        ],
        metadata={"table": table.name, "doc": table.doc, "schema_version": str(SCHEMA_VERSION)},
    )


def markdown_of(table: Table) -> str:
    """A table's section of the documentation."""
    lines = [f"## {table.name}", "", table.doc, "", "| column | type | unit | meaning |", "|---|---|---|---|"]
    lines += [f"| `{c.name}` | {c.type} | {c.unit} | {c.doc} |" for c in table.columns]
    return "\n".join([*lines, ""])
