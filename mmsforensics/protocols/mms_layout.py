"""Every message of MS-MMSP, declared once in the order of the specification's field tables.

A layout is a tuple of ``(type, name)`` that begins behind chunkLen and MID, at message offset 8. Types:

=============  ==========================================================================
``u16 u32``    unsigned integer, little-endian (also ``u64``; ``f64`` an IEEE double)
``skip:N``     N bytes that carry nothing
``text``       UTF-16LE up to a NUL or the end of the message
``texts``      consecutive NUL-terminated UTF-16LE strings up to an empty one or the end
``chars:F``    UTF-16LE, field F counts its characters
``utf16:F``    UTF-16LE, field F counts its bytes
``bytes:F``    bytes, field F counts them
``rest``       all bytes that are left
``u32s:F``     F unsigned integers of 32 bits
``switch:F``   F stream switch entries of three u16 [2.2.4.28]
``token``      tokenData of OpenFile, placed by its own fields [2.2.4.21]
``log``        CLIENT_LOG [2.2.1]
=============  ==========================================================================

A type that ends in ``?`` may be absent from a message that is shorter.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

Layout = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class MessageType:
    """A message of the specification."""

    mid: int
    name: str
    section: str
    """Section of MS-MMSP."""
    layout: Layout


CLIENT_MESSAGES: tuple[MessageType, ...] = (
    MessageType(
        0x00030001,
        "Connect",
        "2.2.4.17",
        (
            ("u32", "playIncarnation"),
            ("u32", "MacToViewerProtocolRevision"),
            ("u32", "ViewerToMacProtocolRevision"),
            ("texts", "subscriberName"),
        ),
    ),
    MessageType(
        0x00030002,
        "ConnectFunnel",
        "2.2.4.18",
        (
            ("u32", "playIncarnation"),
            ("u32", "maxBlockBytes"),
            ("u32", "maxFunnelBytes"),
            ("u32", "maxBitRate"),
            ("u32", "funnelMode"),
            ("text", "funnelName"),
        ),
    ),
    MessageType(
        0x00030005,
        "OpenFile",
        "2.2.4.21",
        (
            ("u32", "playIncarnation"),
            ("u32", "spare"),
            ("u32", "token"),
            ("u32", "cbtoken"),
            ("text", "fileName"),
            ("token", "tokenData"),
        ),
    ),
    MessageType(
        0x00030007,
        "StartPlaying",
        "2.2.4.25",
        (
            ("u32", "openFileId"),
            ("skip:4", "padding"),
            ("f64", "position"),
            ("u32", "asfOffset"),
            ("u32", "locationId"),
            ("u32", "frameOffset"),
            ("u32", "playIncarnation"),
            ("u32?", "dwAccelBandwidth"),
            ("u32?", "dwAccelDuration"),
            ("u32?", "dwLinkBandwidth"),
        ),
    ),
    MessageType(0x00030009, "StopPlaying", "2.2.4.27", (("u32", "openFileId"), ("u32", "playIncarnation"))),
    MessageType(0x0003000D, "CloseFile", "2.2.4.16", (("u32", "playIncarnation"), ("u32", "openFileId"))),
    MessageType(
        0x00030015,
        "ReadBlock",
        "2.2.4.23",
        (
            ("u32", "openFileId"),
            ("u32", "fileBlockId"),
            ("u32", "offset"),
            ("u32", "length"),
            ("u32", "flags"),
            ("skip:4", "padding"),
            ("f64", "tEarliest"),
            ("f64", "tDeadline"),
            ("u32", "playIncarnation"),
            ("u32", "playSequence"),
        ),
    ),
    MessageType(0x00030018, "FunnelInfo", "2.2.4.19", (("u32", "playIncarnation"),)),
    MessageType(
        0x0003001A,
        "SecurityResponse",
        "2.2.4.24",
        (("u32", "playIncarnation"), ("u32", "cookie"), ("u32", "cbToken"), ("bytes:cbToken", "pToken")),
    ),
    MessageType(0x0003001B, "Pong", "2.2.4.22", (("u32", "dwParam1"), ("u32", "dwParam2"))),
    MessageType(0x00030025, "CancelReadBlock", "2.2.4.15", (("u32", "playIncarnation"),)),
    MessageType(
        0x00030028,
        "StartStriding",
        "2.2.4.26",
        (
            ("u32", "openFileId"),
            ("skip:4", "padding"),
            ("f64", "position"),
            ("u32", "asfOffset"),
            ("u32", "locationId"),
            ("u32", "frameOffset"),
            ("u32", "playIncarnation"),
            ("f64", "rate"),
        ),
    ),
    MessageType(0x00030032, "Logging", "2.2.4.20", (("log", "clientLog"),)),
    MessageType(
        0x00030033,
        "StreamSwitch",
        "2.2.4.28",
        (("u32", "cStreamEntries"), ("switch:cStreamEntries", "aStreamEntries")),
    ),
)

SERVER_MESSAGES: tuple[MessageType, ...] = (
    MessageType(
        0x00040001,
        "ReportConnectedEX",
        "2.2.4.2",
        (
            ("u32", "hr"),
            ("u32", "playIncarnation"),
            ("u32", "MacToViewerProtocolRevision"),
            ("u32", "ViewerToMacProtocolRevision"),
            ("f64", "blockGroupPlayTime"),
            ("u32", "blockGroupBlocks"),
            ("u32", "nMaxOpenFiles"),
            ("u32", "nBlockMaxBytes"),
            ("u32", "maxBitRate"),
            ("u32", "cbServerVersionInfo"),
            ("u32", "cbVersionInfo"),
            ("u32", "cbVersionUrl"),
            ("u32", "cbAuthenPackage"),
            ("chars:cbServerVersionInfo", "ServerVersionInfo"),
            ("chars:cbVersionInfo", "VersionInfo"),
            ("chars:cbVersionUrl", "VersionUrl"),
            ("chars:cbAuthenPackage", "AuthenPackage"),
        ),
    ),
    MessageType(
        0x00040002,
        "ReportConnectedFunnel",
        "2.2.4.3",
        (
            ("u32", "hr"),
            ("u32", "playIncarnation"),
            ("u32", "packetPayloadSize"),
            ("text", "funnelName"),
        ),
    ),
    MessageType(
        0x00040003, "ReportDisconnectedFunnel", "2.2.4.4", (("u32", "hr"), ("u32?", "playIncarnation"))
    ),
    MessageType(
        0x00040005,
        "ReportStartedPlaying",
        "2.2.4.10",
        (
            ("u32", "hr"),
            ("u32", "playIncarnation"),
            ("u32?", "tigerFileId"),
            ("u32?", "unused1"),
            ("skip:12?", "unused2"),
        ),
    ),
    MessageType(
        0x00040006,
        "ReportOpenFile",
        "2.2.4.7",
        (
            ("u32", "hr"),
            ("u32", "playIncarnation"),
            ("u32", "openFileId"),
            ("skip:4", "padding"),
            ("u32", "fileName"),
            ("u32", "fileAttributes"),
            ("f64", "fileDuration"),
            ("u32", "fileBlocks"),
            ("skip:16", "unused1"),
            ("u32", "filePacketSize"),
            ("u64", "filePacketCount"),
            ("u32", "fileBitRate"),
            ("u32", "fileHeaderSize"),
            ("skip:36?", "unused2"),
        ),
    ),
    MessageType(
        0x0004000A,
        "ReportStartStriding",
        "2.2.4.11",
        (("u32", "hr"), ("u32", "playIncarnation"), ("u32?", "spare")),
    ),
    MessageType(
        0x00040011,
        "ReportReadBlock",
        "2.2.4.8",
        (("u32", "hr"), ("u32", "playIncarnation"), ("u32?", "playSequence")),
    ),
    MessageType(
        0x00040015,
        "ReportFunnelInfo",
        "2.2.4.6",
        (
            ("u32", "hr"),
            ("u32", "playIncarnation"),
            ("u32", "transportMask"),
            ("u32", "nBlockFragments"),
            ("u32", "fragmentBytes"),
            ("u32", "nCubs"),
            ("u32", "failedCubs"),
            ("u32", "nDisks"),
            ("u32", "decluster"),
            ("u32", "cubddDatagramSize"),
        ),
    ),
    MessageType(
        0x0004001A,
        "SecurityChallenge",
        "2.2.4.14",
        (("u32", "playIncarnation"), ("u32", "cookie"), ("u32", "cbToken"), ("bytes:cbToken", "pToken")),
    ),
    MessageType(0x0004001B, "Ping", "2.2.4.1", (("u32", "dwParam1"), ("u32", "dwParam2"))),
    MessageType(0x0004001E, "ReportEndOfStream", "2.2.4.5", (("u32", "hr"), ("u32?", "playIncarnation"))),
    MessageType(
        0x00040020,
        "ReportStreamChange",
        "2.2.4.12",
        (
            ("u32", "hr"),
            ("u32", "dwTcpHdrIncarnation"),
            ("u32", "cbPacketSize"),
            ("u32", "cbHeaderSize"),
            ("u32", "dwBitRate"),
            ("u32?", "dwStreamId"),
        ),
    ),
    MessageType(0x00040021, "ReportStreamSwitch", "2.2.4.13", (("u32", "hr"),)),
    MessageType(
        0x00040022,
        "ReportRedirect",
        "2.2.4.9",
        (("u32", "hr"), ("u16", "RedirectType"), ("u16", "cbLocation"), ("utf16:cbLocation", "wszLocation")),
    ),
)

RESEND_SIGNATURE = 0xBEEFF00D

RESEND = MessageType(
    RESEND_SIGNATURE,
    "RequestPacketListResend",
    "2.2.5",
    (
        ("u32", "dwClientId"),
        ("u16", "wSourceId"),
        ("u16", "wNumPackets"),
        ("u32s:wNumPackets", "dwBeginPacketList"),
    ),
)
"""The only datagram that a client sends. It has no TcpMessageHeader, chunkLen or MID: a Signature stands
where these end, and serves as the MID here."""

MAX_RESENDS = 32
"""Packets that one request may ask for [2.2.5]."""

MESSAGES: dict[int, MessageType] = {m.mid: m for m in (*CLIENT_MESSAGES, *SERVER_MESSAGES)}

MAX_STREAM_ENTRIES = 127
"""ASF stream numbers are 7 bits [ASF 3.3]."""

CLIENT_LOG: tuple[tuple[str, str], ...] = (
    ("u32", "cbSize"),
    ("u32", "info.cbSize"),
    ("ansi:260", "szURL"),
    ("ansi:260", "szChannelURL"),
    ("ansi:64", "szUserAgent"),
    ("ansi:260", "szHostingWebPage"),
    ("u64", "qwClientVersion"),
    ("ansi:16", "szLang"),
    ("ansi:40", "szUniquePID"),
    ("ansi:32", "szHostExe"),
    ("u64", "qwHostExeVer"),
    ("u32", "msFileDuration"),
    ("u64", "qwFileSize"),
    ("u32", "dwAvgBandwidthBps"),
    ("ansi:64", "szAudioCodec"),
    ("ansi:64", "szVideoCodec"),
    ("u32", "msStartTime"),
    ("u32", "msPlayed"),
    ("i16", "rate"),
    ("u32", "dwBufferingCount"),
    ("u32", "msBufferingTime"),
    ("u64", "qwBytesReceived"),
    ("u32", "dwPacketsReceived"),
    ("u32", "dwPacketsLostClient"),
    ("u32", "dwPacketsRecoveredECC"),
    ("u32", "dwMinReceptionQuality"),
    ("u32", "hr"),
    ("u32", "dwSourceId"),
    ("u32", "dwIPAddress"),
    ("ansi:260", "szComputerDNS"),
    ("ansi:16", "szOS"),
    ("u64", "qwOSVersion"),
    ("ansi:16", "szCPU"),
    ("ansi:8", "szProto"),
    ("ansi:8", "szTransport"),
    ("u32", "dwPacketsLostNet"),
    ("u32", "dwPacketsLostContNet"),
    ("u32", "dwResendRequests"),
    ("u32", "dwPacketsRecoveredResent"),
    ("u32", "dwPacketsResent"),
)
"""CLIENT_LOG with CLIENT_LOG_INFO inside, packed, 1490 bytes [2.2.1]."""

_INTEGERS = {"u16": "<H", "i16": "<h", "u32": "<I", "u64": "<Q", "f64": "<d"}


class _ShortError(Exception):
    """The message ends before a field it must have."""


def parse_fields(layout: Layout, message: bytes) -> tuple[dict[str, object], str | None]:
    """Read a message's fields.

    Parameters
    ----------
    layout : tuple of (type, name)
    message : bytes
        The whole message, from chunkLen on.

    Returns
    -------
    fields : dict
        Those that are there.
    missing : str or None
        The first field that must be there and is not.
    """
    fields: dict[str, object] = {}
    at = 8
    for kind, name in layout:
        base, _, argument = kind.rstrip("?").partition(":")
        try:
            value, at = _read(base, argument, fields, message, at)
        except _ShortError:
            return fields, None if kind.endswith("?") else name
        if base != "skip":
            fields[name] = value
    return fields, None


def _read(base: str, argument: str, fields: dict[str, object], message: bytes, at: int) -> tuple[object, int]:
    if base in _INTEGERS:
        size = struct.calcsize(_INTEGERS[base])
        return struct.unpack(_INTEGERS[base], _take(message, at, size))[0], at + size
    if base == "skip":
        return None, at + len(_take(message, at, int(argument)))
    if base == "ansi":
        raw = _take(message, at, int(argument))
        return raw.split(b"\0", 1)[0].decode("cp1252", "replace"), at + int(argument)
    if base in ("chars", "utf16", "bytes"):
        size = _count(fields, argument) * (2 if base == "chars" else 1)
        raw = _take(message, at, size)
        return (raw if base == "bytes" else utf16(raw)), at + size
    if base == "text":
        text, size = _terminated(message, at)
        return text, at + size
    if base == "texts":
        return _strings(message, at), len(message)
    if base == "u32s":
        raw = _take(message, at, 4 * _count(fields, argument))
        return tuple(value for (value,) in struct.iter_unpack("<I", raw)), at + len(raw)
    if base == "switch":
        return _switch_entries(message, at, _count(fields, argument))
    if base == "token":
        return _token(fields, message), len(message)
    if base == "log":
        return _client_log(message, at), len(message)
    raise AssertionError(base)


def _take(message: bytes, at: int, size: int) -> bytes:
    if size < 0 or at + size > len(message):
        raise _ShortError
    return message[at : at + size]


def _count(fields: dict[str, object], name: str) -> int:
    value = fields[name]
    assert isinstance(value, int)
    return value


def utf16(raw: bytes) -> str:
    """Decode UTF-16LE up to the first NUL; what is no text stays visible as escapes."""
    text = raw[: len(raw) & ~1].decode("utf-16-le", "backslashreplace")
    return text.split("\0", 1)[0]


def _terminated(message: bytes, at: int) -> tuple[str, int]:
    end = at
    while end + 1 < len(message) and message[end : end + 2] != b"\0\0":
        end += 2
    return utf16(message[at:end]), end + 2 - at


def _strings(message: bytes, at: int) -> str:
    """Consecutive strings, joined by newlines; the padding behind them ends the list."""
    found: list[str] = []
    while at + 1 < len(message) and len(found) < 3:
        text, size = _terminated(message, at)
        if not text or (found and not text.upper().startswith(("HOST:", "VIA:"))):
            break
        found.append(text)
        at += size
    return "\n".join(found)


def _switch_entries(message: bytes, at: int, count: int) -> tuple[object, int]:
    if count > MAX_STREAM_ENTRIES:
        raise _ShortError
    raw = _take(message, at, 6 * count)
    return tuple(struct.iter_unpack("<HHH", raw)), at + 6 * count


def _token(fields: dict[str, object], message: bytes) -> bytes:
    """TokenData: `token` is its offset from the start of fileName, at message offset 24."""
    size = _count(fields, "cbtoken")
    if size == 0:
        return b""
    return _take(message, 24 + _count(fields, "token"), size)


def _client_log(message: bytes, at: int) -> dict[str, object]:
    fields: dict[str, object] = {}
    for kind, name in CLIENT_LOG:
        base, _, argument = kind.partition(":")
        fields[name], at = _read(base, argument, fields, message, at)
    return fields
