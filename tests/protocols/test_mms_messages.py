"""Every message of MS-MMSP, written here from the specification's field tables, read by the package."""

import re
import struct

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from runs import other, run

from mmsforensics.protocols import Malformed, MmsMessage
from mmsforensics.protocols.mms import MmsStreamDecoder
from mmsforensics.protocols.mms_layout import MESSAGES, RESEND

DBL_MAX = bytes.fromhex("ffffffffffffef7f")


def message(mid, body):
    """chunkLen, MID, body, padded to a multiple of eight bytes [MS-MMSP 2.2.4]."""
    size = 8 + len(body)
    chunks = -(-size // 8)
    return struct.pack("<II", chunks, mid) + body.ljust(chunks * 8 - 8, b"\xab")


def record(*messages, sequence=0, seal=b"MMS "):
    """TcpMessageHeader around messages [MS-MMSP 2.2.3]."""
    body = b"".join(messages)
    head = struct.pack("<BBBBIII", 1, 0, 0, 0, 0xB00BFACE, len(body) + 16, int.from_bytes(seal, "little"))
    return head + struct.pack("<IHHd", (len(body) + 16) // 8, sequence, 0, 0.0) + body


def decoded(data, direction="client"):
    return list(MmsStreamDecoder(direction, from_start=True).feed(run(data)))


def direction_of(mid):
    return "server" if mid >> 16 == 4 else "client"


def u32(*values):
    return struct.pack(f"<{len(values)}I", *values)


def utf16(text, end=b"\0\0"):
    return text.encode("utf-16-le") + end


VERSION, AUTHENTICATION = utf16("9.00.00.3372"), utf16("NTLM")

CASES = {
    "Connect": (
        0x00030001,
        u32(0xF0F0F0F0, 0x0004000B, 0x0003001C) + utf16("NSPlayer/9.0.0.2980; {0}") + utf16("HOST: a.b:1755"),
        {
            "playIncarnation": 0xF0F0F0F0,
            "MacToViewerProtocolRevision": 0x0004000B,
            "ViewerToMacProtocolRevision": 0x0003001C,
            "subscriberName": "NSPlayer/9.0.0.2980; {0}\nHOST: a.b:1755",
        },
    ),
    "ConnectFunnel": (
        0x00030002,
        u32(0, 0xFFFFFFFF, 0, 10_000_000, 2) + utf16("\\\\10.0.0.7\\UDP\\7000", b""),
        {"maxBlockBytes": 0xFFFFFFFF, "maxBitRate": 10_000_000, "funnelMode": 2},
    ),
    "OpenFile": (
        0x00030005,
        u32(1, 77, 16, 13) + utf16("abc.asf") + b"dXNlcjpwYXNz\0",
        {"playIncarnation": 1, "fileName": "abc.asf", "tokenData": b"dXNlcjpwYXNz\0"},
    ),
    "StartPlaying": (
        0x00030007,
        u32(1, 0xABABABAB) + DBL_MAX + u32(0, 41, 0x00FFFFFF, 4, 3_500_000, 5000, 0),
        {
            "openFileId": 1,
            "locationId": 41,
            "frameOffset": 0x00FFFFFF,
            "playIncarnation": 4,
            "dwAccelBandwidth": 3_500_000,
            "dwAccelDuration": 5000,
            "dwLinkBandwidth": 0,
        },
    ),
    "StopPlaying": (0x00030009, u32(1, 4), {"openFileId": 1, "playIncarnation": 4}),
    "CloseFile": (0x0003000D, u32(4, 1), {"playIncarnation": 4, "openFileId": 1}),
    "ReadBlock": (
        0x00030015,
        u32(1, 0, 0, 0x8000, 0xFFFFFFFF, 0) + struct.pack("<dd", 0.0, 3600.0) + u32(2, 0),
        {"length": 0x8000, "tDeadline": 3600.0, "playIncarnation": 2, "playSequence": 0},
    ),
    "FunnelInfo": (0x00030018, u32(0xF0F0F0EF), {"playIncarnation": 0xF0F0F0EF}),
    "SecurityResponse": (
        0x0003001A,
        u32(5, 6, 4) + b"\0\0xy",
        {"playIncarnation": 5, "cookie": 6, "pToken": b"\0\0xy"},
    ),
    "Pong": (0x0003001B, u32(8, 9), {"dwParam1": 8, "dwParam2": 9}),
    "CancelReadBlock": (0x00030025, u32(2), {"playIncarnation": 2}),
    "StartStriding": (
        0x00030028,
        u32(1, 0) + struct.pack("<d", 12.5) + u32(0, 0, 0, 4) + struct.pack("<d", -5.0),
        {"position": 12.5, "playIncarnation": 4, "rate": -5.0},
    ),
    "StreamSwitch": (
        0x00030033,
        u32(2) + struct.pack("<6H", 0xFFFF, 1, 0, 0xFFFF, 2, 1),
        {"cStreamEntries": 2, "aStreamEntries": ((0xFFFF, 1, 0), (0xFFFF, 2, 1))},
    ),
    "ReportConnectedEX": (
        0x00040001,
        u32(0, 0xF0F0F0F0, 0x0004000B, 0x0003001C)
        + struct.pack("<d", 1.0)
        + u32(1, 1, 0x8000, 10_000_000, len(VERSION) // 2, 0, 0, len(AUTHENTICATION) // 2)
        + VERSION
        + AUTHENTICATION,
        {
            "hr": 0,
            "blockGroupPlayTime": 1.0,
            "nBlockMaxBytes": 0x8000,
            "ServerVersionInfo": "9.00.00.3372",
            "VersionUrl": "",
            "AuthenPackage": "NTLM",
        },
    ),
    "ReportConnectedFunnel": (
        0x00040002,
        u32(0, 3, 4) + utf16("Funnel Of The Gods"),
        {"hr": 0, "funnelName": "Funnel Of The Gods"},
    ),
    "ReportDisconnectedFunnel": (0x00040003, u32(0x80004005, 1), {"hr": 0x80004005, "playIncarnation": 1}),
    "ReportStartedPlaying": (
        0x00040005,
        u32(0, 4, 1, 0x40000000, 0, 0, 0),
        {"hr": 0, "playIncarnation": 4, "tigerFileId": 1},
    ),
    "ReportOpenFile": (
        0x00040006,
        u32(0, 1, 9, 0, 0, 0x41800000)
        + struct.pack("<d", 61.5)
        + u32(62)
        + bytes(16)
        + u32(1444)
        + struct.pack("<Q", 2**33)
        + u32(345678, 5603)
        + bytes(36),
        {
            "openFileId": 9,
            "fileAttributes": 0x41800000,
            "fileDuration": 61.5,
            "fileBlocks": 62,
            "filePacketSize": 1444,
            "filePacketCount": 2**33,
            "fileBitRate": 345678,
            "fileHeaderSize": 5603,
        },
    ),
    "ReportStartStriding": (0x0004000A, u32(0, 4, 0), {"playIncarnation": 4}),
    "ReportReadBlock": (0x00040011, u32(0, 2, 0), {"playIncarnation": 2, "playSequence": 0}),
    "ReportFunnelInfo": (
        0x00040015,
        u32(0, 0xF0F0F0EF, 8, 1, 0x10000, 4711, 0, 1, 0, 0),
        {"transportMask": 8, "fragmentBytes": 0x10000, "nCubs": 4711, "nDisks": 1},
    ),
    "SecurityChallenge": (
        0x0004001A,
        u32(5, 6, 12) + utf16('r="x"'),
        {"playIncarnation": 5, "cookie": 6, "pToken": utf16('r="x"')},
    ),
    "Ping": (0x0004001B, u32(8, 9), {"dwParam1": 8, "dwParam2": 9}),
    "ReportEndOfStream": (0x0004001E, u32(1, 4), {"hr": 1, "playIncarnation": 4}),
    "ReportStreamChange": (
        0x00040020,
        u32(0, 0xFF, 1444, 5603, 345678, 0),
        {"dwTcpHdrIncarnation": 0xFF, "cbPacketSize": 1444, "cbHeaderSize": 5603, "dwBitRate": 345678},
    ),
    "ReportStreamSwitch": (0x00040021, u32(0), {"hr": 0}),
    "ReportRedirect": (
        0x00040022,
        u32(0) + struct.pack("<HH", 1, 20) + utf16("mms://a/b"),
        {"RedirectType": 1, "cbLocation": 20, "wszLocation": "mms://a/b"},
    ),
}
"""Name: MID, body behind it, what must be read."""


@pytest.mark.parametrize("name", CASES)
def test_message(name):
    mid, body, wanted = CASES[name]
    data = record(message(mid, body))
    (found,) = decoded(data, direction_of(mid))
    assert isinstance(found, MmsMessage)
    assert (found.mid, found.name, found.at.offset) == (mid, name, 0)
    assert {key: found.fields[key] for key in wanted} == wanted


def test_the_list_is_whole():
    """All messages of the specification but Logging, which has a test of its own, are above."""
    assert {mid for mid, _, _ in CASES.values()} | {0x00030032} == set(MESSAGES)


def test_logging():
    """CLIENT_LOG is 1490 bytes, packed; times in ms, strings ANSI [2.2.1]."""
    log = bytearray(1490)
    struct.pack_into("<II", log, 0, 1490, 1482)
    log[8 : 8 + 14] = b"mms://a/b.wmv\0"
    (found,) = decoded(record(message(0x00030032, bytes(log))))
    fields = found.fields["clientLog"]
    assert (fields["cbSize"], fields["szURL"]) == (1490, "mms://a/b.wmv")
    assert len(fields) == 40


def test_optional_fields_are_there_or_not():
    """Only the length of the message tells [2.2.4.25]."""
    body = u32(1, 0) + DBL_MAX + u32(0, 0, 0, 4)
    (found,) = decoded(record(message(0x00030007, body)))
    assert "dwAccelBandwidth" not in found.fields


def test_an_error_need_not_have_the_fields_behind_it():
    (found,) = decoded(record(message(0x00040006, u32(0x80070002, 1))), "server")
    assert found.fields["hr"] == 0x80070002


def test_a_message_too_short_is_told_with_the_field_it_lacks():
    found, problem = decoded(record(message(0x00040006, u32(0, 1))), "server")
    assert found.fields == {"hr": 0, "playIncarnation": 1}
    assert isinstance(problem, Malformed)
    assert "openFileId" in problem.expected
    assert "2.2.4.7" in problem.expected


def test_an_unknown_message_keeps_its_bytes():
    (found,) = decoded(record(message(0x00030003, b"whatever")))
    assert (found.name, found.fields["data"]) == ("MID 0x00030003", b"whatever")


def test_several_messages_in_one_record():
    data = record(message(0x00040021, u32(0)), message(0x00040005, u32(0, 4, 1, 0, 0, 0, 0)))
    assert [m.name for m in decoded(data, "server")] == ["ReportStreamSwitch", "ReportStartedPlaying"]


@pytest.mark.parametrize("chunks", [0, 3, 0xFFFFFFFF])
def test_a_chunk_length_that_lies(chunks):
    good = message(0x00030018, u32(1))
    bad = struct.pack("<II", chunks, 0x00030018) + bytes(8)
    first, problem, last = decoded(record(good, bad) + record(good))
    assert (first.name, last.name) == ("FunnelInfo", "FunnelInfo")
    assert isinstance(problem, Malformed)


def test_more_stream_entries_than_streams_can_be():
    _, problem = decoded(record(message(0x00030033, u32(0xFFFFFFFF))))
    assert "aStreamEntries" in problem.expected


# --- vectors printed elsewhere -------------------------------------------------------------------------

WMP_9 = bytes.fromhex(
    "010000fdcefa0bb0a00000004d4d5320140000000000000000000000000000001200000001000300f0f0f0f00b000400"
    "1c0003004e00530050006c0061007900650072002f0039002e0030002e0030002e0032003900380030003b0020007b00"
    "300030003000300041004100300030002d0030004100300030002d0030003000610030002d0041004100300041002d00"
    "3000300030003000410030004100410030004100410030007d000000e06ddf5f"
)
"""A Connect as Windows Media Player 9 sends it, stack garbage for padding."""

FUNNEL = bytes.fromhex(
    "01000000cefa0bb0600000004d4d53200c000000020000000000000000000000"
    "0a0000000200030000000000ffffffff0000000080969800020000005c005c00"
    "3100390032002e003100360038002e0030002e003100320039005c0054004300"
    "50005c00310030003300370000000000"
)


def test_a_players_connect():
    (found,) = decoded(WMP_9)
    assert found.fields["playIncarnation"] == 0xF0F0F0F0
    assert found.fields["MacToViewerProtocolRevision"] == 0x0004000B
    assert found.fields["ViewerToMacProtocolRevision"] == 0x0003001C
    assert found.size == 144
    assert found.fields["subscriberName"] == ("NSPlayer/9.0.0.2980; {0000AA00-0A00-00a0-AA0A-0000A0AA0AA0}")


OPEN_FILE = (
    bytes.fromhex(
        "01000000cefa0bb0480000004d4d53200900000003000000000000000000000007000000050003000100000000000000"
        "100000000d0000006100620063002e006100730066000000"
    )
    + b"dXNlcjpwYXNz\0\0\0\0"
)
"""OpenFile of abc.asf with a Basic token behind the name."""

VECTORS = {
    "ReadBlock": "0700000015000300010000000000000000000000 00800000ffffffff 00000000 0000000000000000"
    "000000000020ac40 0200000000000000",
    "StreamSwitch": "0300000033000300 02000000 ffff01000000 ffff02000000",
    "StartPlaying": "0500000007000300 0100000000000000 ffffffffffffef7f ffffffff00000000 ffffff00 04000000",
}
"""Messages written out byte by byte."""


def test_a_file_opened_with_a_basic_token():
    (found,) = decoded(OPEN_FILE)
    assert found.fields["fileName"] == "abc.asf"
    assert (found.fields["token"], found.fields["cbtoken"]) == (0x10, 13)
    assert found.fields["tokenData"] == b"dXNlcjpwYXNz\0"


def test_messages_written_out():
    read, switch, start = (decoded(record(bytes.fromhex(text)))[0].fields for text in VECTORS.values())
    assert (read["length"], read["flags"], read["tDeadline"]) == (0x8000, 0xFFFFFFFF, 3600.0)
    assert (read["playIncarnation"], read["playSequence"]) == (2, 0)
    assert switch["aStreamEntries"] == ((0xFFFF, 1, 0), (0xFFFF, 2, 0))
    assert start["position"] == struct.unpack("<d", DBL_MAX)[0]
    assert (start["asfOffset"], start["locationId"]) == (0xFFFFFFFF, 0)
    assert (start["frameOffset"], start["playIncarnation"]) == (0x00FFFFFF, 4)
    assert "dwAccelBandwidth" not in start


def test_the_funnel_of_the_free_clients():
    (found,) = decoded(FUNNEL)
    assert found.fields["funnelName"] == "\\\\192.168.0.129\\TCP\\1037"


# --- any bytes -----------------------------------------------------------------------------------------


@given(st.sampled_from(sorted(MESSAGES)), st.binary(max_size=200))
def test_any_body(mid, body):
    found = decoded(record(message(mid, body)), direction_of(mid))
    assert isinstance(found[0], MmsMessage)
    assert all(isinstance(m, Malformed) for m in other(found)[1:])


# --- the documentation ---------------------------------------------------------------------------------


def documented():
    """Rows of the tables of the section MS-MMSP, as cells without marks."""
    text = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", text.split("\n## MS-MMSP\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip().strip("`") for cell in line.strip("| ").split(" | ")] for line in lines]


def test_the_documentation_lists_every_message():
    listed = {row[0]: row for row in documented() if len(row) == 6 and row[0] != "message"}
    for message_type in (*MESSAGES.values(), RESEND):
        name, mid, section, _, state, _ = listed.pop(message_type.name)
        assert (mid, section) == (f"0x{message_type.mid:08X}", message_type.section), name
        assert state in ("decoded", "not seen in any test")
    assert listed == {}


@pytest.mark.parametrize("test", sorted({row[-1] for row in documented() if "::" in row[-1]}))
def test_the_tests_that_the_documentation_names_are_there(test):
    path, name = test.split("::")
    assert f"\ndef {name}(" in (ROOT / path).read_text(encoding="utf-8")
