"""The tables of a case: each column's type, unit and meaning, declared once.

The Parquet schema, ``mmsforensics schema`` and `docs/tables.md` are made from this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
            ("format", "string", "", "pcap, pcapng, snoop, netmon, empty or unknown; told by content"),
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
            ("transport", "string", "", "mmst, mmsu, mmsh or http"),
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
            ("media_bytes", "uint64", "bytes", "bytes of media packets received, padding not counted"),
            ("packets_received", "uint64", "ASF packets", "media packets wholly captured"),
            (
                "packets_missing",
                "uint64",
                "ASF packets",
                "media packets known to be missing from the capture",
            ),
            ("gap_bytes", "uint64", "bytes", "bytes of the session's TCP streams that were not captured"),
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
            "media",
            "Recovered media files.",
            ("media_id", "string", "", "identifier in this case"),
            _SESSION,
            (
                "kind",
                "string",
                "",
                "faithful: the bytes as sent; playable: the same made right for players; merged: several "
                "viewers' faithful files joined (docs/sessions.md)",
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
            ("duration_ms", "int64", "ms", "play time by the header; null for a live stream"),
            ("title", "string", "", "Content Description"),
            ("author", "string", "", "Content Description"),
            ("copyright", "string", "", "Content Description"),
            ("description", "string", "", "Content Description"),
            ("notes", "list<string>", "", "why a playable file was made, and what was repaired in it"),
            ("merged_from", "list<string>", "", "media that a merged one was joined from; else empty"),
        ),
        _table(
            "media_streams",
            "Streams that a medium's header declares.",
            _MEDIA,
            ("stream_number", "uint8", "", "1 to 127"),
            ("type", "string", "", "audio, video, script, image, file or binary"),
            ("codec", "string", "", "codec, by the name ffmpeg uses; its tag when it has none"),
            ("bitrate", "uint32", "bit/s", "bit rate that the header declares"),
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
            ("packet_number", "uint64", "", "LocationId: number of the packet in the content"),
            ("send_time_ms", "uint32", "ms", "send time in the packet"),
            ("ts", "time", "ns", "time stamp of the frame that completed the packet"),
            ("size", "uint32", "bytes", "bytes on the wire, stripped padding not counted"),
            ("file_offset", "uint64", "bytes", "offset in the faithful file; null when there is none"),
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
            ("kind", "string", "", "captured, padding, repaired or index"),
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
            "metadata",
            "Everything that a medium's header says about it.",
            _MEDIA,
            ("name", "string", "", "name of the attribute"),
            ("type", "string", "", "type of the value in the header"),
            ("value", "string", "", "value as text; binary values in hex"),
            ("source_object", "string", "", "ASF object it stands in"),
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
