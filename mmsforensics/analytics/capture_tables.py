"""The tables of the evidence and of the traffic in it: files, what is wrong with them, flows, what is odd."""

from __future__ import annotations

from mmsforensics.analytics.columns import CAPTURE_ID, FRAME, SESSION_ID, table


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


CAPTURES = table(
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
)

PROBLEMS = table(
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
)

FLOWS = table(
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
)

ANOMALIES = table(
    "anomalies",
    "What is odd about the traffic of decoded flows, packet by packet; kinds in docs/reassembly.md.",
    SESSION_ID,
    ("flow_id", "string", "", "flow it was seen in"),
    ("direction", "string", "", "who sent it: client or server"),
    CAPTURE_ID,
    FRAME,
    ("ts", "time", "ns", "time stamp of the frame"),
    ("stream_offset", "uint64", "bytes", "place in the direction's stream; null where there is none"),
    ("kind", "string", "", "what it is"),
    ("severity", "string", "", "info, low, medium or high"),
    ("size", "uint64", "bytes", "bytes concerned"),
    ("details", "string", "JSON", "what else is known, by kind"),
)
