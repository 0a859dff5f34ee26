"""The specifications' own samples, and messages written out from them: what each must give, all in one place.

`ELSEWHERE` names the samples that stand with the tests of their decoder; the others follow.
"""

import base64
import struct
from pathlib import Path

import numpy as np
import pytest
import test_http
import test_mms_datagrams
import test_mms_messages
import test_msb_packets
import test_ntlm
import test_rtsp_stream
from peers import msb_sender
from peers.rtsp_wire import rtp
from runs import media, run

from mmsforensics.asf import restore_padding, walk_payloads
from mmsforensics.protocols import DataPackets, MmsMessage, Protocol, Response, WmspPacket, detect
from mmsforensics.protocols.client_log import parse_document
from mmsforensics.protocols.mms import MmsStreamDecoder
from mmsforensics.protocols.ntlm import hash_line, parse_ntlm
from mmsforensics.protocols.wmsp import WmspDecoder

TESTS = Path(__file__).parents[1]

ELSEWHERE = {
    "Connect of Windows Media Player 9": "protocols/test_mms_messages.py::test_a_players_connect",
    "ConnectFunnel of the free clients": (
        "protocols/test_mms_messages.py::test_the_funnel_of_the_free_clients"
    ),
    "OpenFile with a Basic token": "protocols/test_mms_messages.py::test_a_file_opened_with_a_basic_token",
    "ReadBlock, StreamSwitch, StartPlaying": "protocols/test_mms_messages.py::test_messages_written_out",
    "RequestPacketListResend": (
        "protocols/test_mms_datagrams.py::test_a_request_as_the_specification_lays_it_out"
    ),
    "NTLM in an encoder's push [MS-WMHTTP 4.8], in its headers": (
        "sessions/test_credentials.py::test_the_exchange_of_the_specification_gives_its_published_hash_line"
    ),
    "NSC blocks [MS-MSB 4.3]": (
        "protocols/test_nsc.py::test_the_blocks_of_the_specification_decode_to_what_it_prints"
    ),
    "NSC format block [MS-MSB 4.3]": (
        "protocols/test_nsc.py::test_the_format_block_of_the_specification_says_its_id_and_length"
    ),
    "NSC file [MS-MSB 4.3]": (
        "protocols/test_nsc.py::test_the_file_of_the_specification_is_read_and_what_is_wrong_with_it_is_told"
    ),
    "log line of 44 fields [MS-WMLOG 3.1]": (
        "protocols/test_client_log.py::test_the_line_of_44_fields_decodes_to_what_it_prints"
    ),
    "ASF packet, single payload": "asf/test_packets.py::test_single_payload",
    "ASF packet, multiple payloads": "asf/test_packets.py::test_multiple_payloads",
    "ASF packet, compressed payload": "asf/test_packets.py::test_compressed_payload",
    "Pragma directives [MS-WMSP 2.2.1.4]": (
        "protocols/test_wmsp_directives.py::test_the_spelling_of_the_specifications_own_examples"
    ),
    "X-StartupProfile [MS-WMSP 2.2.1.12]": (
        "protocols/test_wmsp_directives.py::test_the_startup_profile_of_the_specification"
    ),
    "requests [MS-WMSP 2.2.2]": "protocols/test_wmsp_directives.py::test_request_types",
}


@pytest.mark.parametrize("sample", ELSEWHERE)
def test_a_sample_stands_with_its_decoder(sample):
    file, name = ELSEWHERE[sample].split("::")
    assert f"def {name}(" in (TESTS / file).read_text(encoding="utf-8")


# --- MS-MMSP -------------------------------------------------------------------------------------------


def test_a_connect_as_scanners_send_it_is_none_but_an_answer_to_it_is_one():
    """The probe of nmap leaves out the last byte of the seal: 175 bytes, of the 176 that a player sends."""
    whole = test_mms_messages.WMP_9
    assert len(whole) == 176
    assert int.from_bytes(whole[8:12], "little") == 160
    probe = whole[:15] + whole[16:]
    assert (detect(whole), detect(probe)) == (Protocol.MMS, None)
    assert [type(m) for m in test_mms_messages.decoded(probe) if isinstance(m, MmsMessage)] == []
    answer = test_mms_messages.record(test_mms_messages.message(0x00040001, bytes(80)))
    assert detect(answer) is Protocol.MMS


def test_a_report_connected_as_servers_send_it():
    """Padding and maxBitRate arbitrary, VersionInfo and VersionUrl empty."""
    version = "9.00.00.3372".encode("utf-16-le") + b"\0\0"
    body = struct.pack("<IIII", 0, 0xF0F0F0F0, 0x0004000B, 0x0003001C) + struct.pack("<d", 1.0)
    body += struct.pack("<IIIII", 1, 1, 0x8000, 0x00989680, len(version) // 2)
    body += struct.pack("<III", 0, 0, 0) + version
    raw = test_mms_messages.record(test_mms_messages.message(0x00040001, body))
    (found,) = test_mms_messages.decoded(raw, "server")
    assert (found.name, found.fields["hr"]) == ("ReportConnectedEX", 0)
    assert (found.fields["ServerVersionInfo"], found.fields["VersionInfo"]) == ("9.00.00.3372", "")


HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")


def test_a_header_and_media_over_tcp():
    """The only part of a header of 5603 bytes, then packet 41 of incarnation 4 with 900 bytes."""
    header, packet = HEADER.ljust(5603, b"\0"), b"\x82\0\0".ljust(900, b"\0")
    raw = bytes.fromhex("00000000020ceb15") + header + bytes.fromhex("2900000004298c03") + packet
    raw += test_mms_messages.record(test_mms_messages.message(0x0004001E, struct.pack("<II", 0, 4)))
    found = media(MmsStreamDecoder("server", from_start=True).feed(run(raw)))
    assert found == [(0, 2, 0x0C, header), (41, 4, 0x29, packet)]


def test_a_packet_pair_over_udp():
    raw = bytes.fromhex("00f0f0f0ff10c005").ljust(0x5C0, b"\xab")
    (block,) = test_mms_datagrams.decoded(raw)
    (row,) = block.packets
    assert (row["location"], row["incarnation"], row["flags"]) == (0xF0F0F000, 0xFF, 0x10)


# --- MS-WMSP -------------------------------------------------------------------------------------------


def wmsp(text, body=b""):
    """Messages of a body of one packet."""
    decoder = WmspDecoder("server")
    one = run(bytes.fromhex(text) + body)
    return [*decoder.feed(0, one.data, one.pieces), *decoder.end()]


@pytest.mark.parametrize(
    ("text", "kind", "location", "flags", "size"),
    [("2448eb15 00000000000ceb15", "H", 0, 0x0C, 5603), ("a4448c03 2900000001298c03", "D", 41, 0x29, 900)],
)
def test_framed_headers_and_media(text, kind, location, flags, size):
    """PacketLength counts the Data header; the media have the B bit [2.2.3.1]."""
    size = int.from_bytes(bytes.fromhex(text)[2:4], "little") - 8
    body = (HEADER if kind == "H" else b"\x82\0\0").ljust(size, b"\0")
    (block,) = [m for m in wmsp(text, body) if isinstance(m, DataPackets)]
    assert block.kind == kind
    assert [(at, flag, data) for at, _, flag, data in media([block])] == [(location, flags, body)]
    assert block.at_once == (text[0] == "a")


@pytest.mark.parametrize(
    ("text", "rest", "kind", "reason"),
    [
        ("24450400 01000000", b"", "E", 1),
        ("24430400 00000000", b"", "C", 0),
        ("2450f801 ae010000", bytes(74), "P", 430),
    ],
)
def test_framed_words(text, rest, kind, reason):
    """$E with more entries to come, $C, and the first $P, whose head of HTTP had 430 bytes [2.2.3.7]."""
    (found,) = wmsp(text, rest)
    assert isinstance(found, WmspPacket)
    assert (found.kind, found.reason) == (kind, reason)


def test_the_answer_with_two_lines_in_one():
    """As MS-WMSP 2.2.2.1 prints it: Server and Content-Length share a line; nothing is guessed."""
    raw = b"HTTP/1.1 200 OK\r\nServer: Cougar/9.5.6001.18281..Content-Length: 5661\r\n\r\n"
    found = test_http.told(server=[run(raw)])
    (answer,) = [m for m in found if isinstance(m, Response)]
    assert answer.header("server") == "Cougar/9.5.6001.18281..Content-Length: 5661"
    assert answer.header("content-length") == ""


# --- MS-MSB, MS-RTSP -----------------------------------------------------------------------------------


def test_a_packet_of_a_multicast():
    """Number 7, format 0x39E, 1408 bytes in all [MS-MSB 2.2.4]."""
    payload = b"\x82\0\0".ljust(1400, b"\0")
    sent = [msb_sender.Sent(7 + n, 0x39E, payload).datagram for n in range(2)]
    assert sent[0][:8].hex() == "070000009e038005"
    found = test_msb_packets.packets(test_msb_packets.decoded(sent))
    assert found[0] == (7, 0x39E, payload)


def test_a_payload_header_of_rtp():
    """A key frame, a complete packet of 1440 bytes, LocationId 7 [MS-RTSP 2.2.1.3]."""
    packet = b"\x82\0\0\x08\x5d".ljust(1440, b"\1")
    raw = rtp(5, 0, 1, bytes.fromhex("c80005a000000007") + packet, marker=True)
    assert test_rtsp_stream.through([[raw]]) == ([packet], [])


# --- authentication, logs ------------------------------------------------------------------------------


def test_the_ntlm_exchange_of_the_specification():
    """[MS-WMHTTP 4.8]: NTLMv1 with extended session security, as hashcat's mode 5500 takes it."""
    tokens = (test_ntlm.TYPE_1, test_ntlm.TYPE_2, test_ntlm.TYPE_3)
    assert [len(base64.b64decode(t)) for t in tokens] == [40, 158, 178]
    _, challenge, answer = (parse_ntlm(base64.b64decode(t)) for t in tokens)
    assert challenge.challenge.hex() == "a3c84dc9fef88a19"
    assert hash_line(challenge.challenge, answer) == (5500, test_ntlm.PUBLISHED)


def test_the_log_for_a_web_server_whose_tab_was_printed_as_a_dot():
    """[MS-WMLOG 3.6]; on the wire it is a tab. The line is that of 3.1, with 44 fields."""
    log = parse_document(f"MX_STATS_LogLine: \t{LINE}".encode())
    assert (len(LINE.split()), log.form, log.problems) == (44, "line", ())
    assert " ".join(log.texts.values()) == LINE
    assert (log.texts["c-bytes"], log.texts["c-pkts-received"]) == ("6321233", "4496")


LINE = (
    "0.0.0.0 2003-09-27 00:27:24 - http://10.194.20.175/mcast1200K 0 42 1 200 "
    "{3300AD50-2C39-46c0-AE0A-B4C904C7848E} 9.0.0.2980 en-US WMFSDK/9.0.0.2980_WMPlayer/9.0.0.3008 - "
    "wmplayer.exe 9.0.0.2980 Windows_XP 5.1.0.2600 Pentium 1801 268885194 1255347 http TCP "
    "Windows_Media_Audio_9 Windows_Media_Video_9 - - 6321233 - 4496 0 0 0 0 0 0 1 0 100 - - - -"
)


# --- ASF -----------------------------------------------------------------------------------------------

PACKET = bytes.fromhex("820000 085d 0a e8030000 3200 81 07 00000000 08 0d000000 a00f0000") + (
    b"ABCDEFGHIJKLM" + bytes(10)
)


@pytest.mark.parametrize(
    "sent",
    [
        PACKET[:5] + b"\0" + PACKET[6:-10],
        PACKET[:3] + b"\0\x5d" + PACKET[6:-10],
    ],
    ids=["Padding Length 0", "without Padding Length"],
)
def test_a_packet_whose_padding_was_stripped(sent):
    data = np.frombuffer(sent.ljust(50, b"\0"), dtype=np.uint8).copy()
    rows = restore_padding(data, 50, np.array([len(sent)], dtype=np.int64))
    assert (len(PACKET), rows["ok"].tolist()) == (50, [1])
    assert bytes(data) == PACKET
    heads, _ = walk_payloads(data, 50)
    assert (heads[0]["padding"], heads[0]["send_time_ms"]) == (10, 1000)
