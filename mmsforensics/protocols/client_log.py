"""What players report of a playing: log lines, XML logs, and the CLIENT_LOG of MS-MMSP [MS-WMLOG 2.2-2.8].

Rules of this file:

* one vocabulary for all carriers: the fields of `evidence.log_fields`, texts as they stand;
* a line is split at white space; a value with blanks of its own (cs-User-Agent in samples of the
  specification) is found again by the fields behind it, whose types are known;
* XML is read as tags and the text between them, never as a document: no entity is expanded but the five that
  XML has from the beginning, and logs that are not well-formed are read as far as they go. An element has the
  word over the same field of the summary;
* nothing raises: what cannot be read is a problem in words.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from mmsforensics.evidence.log_fields import LINE_44, LINES, LogField, field_named, typed
from mmsforensics.protocols.entities import unescaped

LogForm = Literal["line", "xml", "binary"]
LogKind = Literal["legacy", "streaming", "rendering", "connect-time"]

TEXT_LIMIT: Final = 1 << 18
"""Bytes of a log looked at; those of players have some thousand."""

LARGEST_TOKENS: Final = 4096
"""Values of a line looked at; more are no log line."""

DEPTH_LIMIT: Final = 8
"""Elements inside each other that are told apart; the specification has three."""

LOG_LINE_PREFIX: Final = b"MX_STATS_LogLine:"
"""What begins a log sent to a web server [MS-WMLOG 2.3]."""

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{2}:[0-9]{2}:[0-9]{2}")
_TAG = re.compile(r"<(/?)([A-Za-z][^\s<>/]{0,63})[^<>]{0,64}>")
_USER_AGENT = 12  # its index in LINE_44


@dataclass(frozen=True, slots=True)
class ClientLog:
    """A player's report."""

    form: LogForm
    kind: LogKind | None
    """By the fields that it leaves empty [MS-WMLOG 2.5-2.8]; None when they do not tell."""
    texts: Mapping[str, str]
    """Values as they stand, by the specification's names."""
    more: Mapping[str, str] = field(default_factory=dict)
    """Content description, a vendor's own fields, and what CLIENT_LOG has beside the fields."""
    problems: tuple[str, ...] = ()
    """What is not as the specification asks for."""


def parse_line(text: str) -> ClientLog:
    """Read a log line of 44, 47 or 52 fields [MS-WMLOG 2.2]."""
    tokens = text.split(None, LARGEST_TOKENS)[:LARGEST_TOKENS]
    problems: list[str] = []
    values, fields = _aligned(tokens, problems)
    texts = {f.name: v for f, v in zip(fields, values, strict=False)}
    problems += _type_problems(texts)
    return ClientLog("line", kind_of(texts), texts, {}, tuple(problems))


def _aligned(tokens: list[str], problems: list[str]) -> tuple[list[str], tuple[LogField, ...]]:
    """The values of a line and the fields that they are of."""
    if len(tokens) in LINES and _mismatches(tokens, LINES[len(tokens)]) == 0:
        return tokens, LINES[len(tokens)]
    if len(tokens) < len(LINE_44):
        problems.append(f"expected 44, 47 or 52 fields, found {len(tokens)}: the line is cut")
        return tokens, LINE_44
    joined = []
    for count, fields in LINES.items():
        if len(tokens) >= count:
            behind = _USER_AGENT + len(tokens) - count + 1
            agent = " ".join(tokens[_USER_AGENT:behind])
            values = [*tokens[:_USER_AGENT], agent, *tokens[behind:]]
            joined.append((_mismatches(values, fields), -count, values, fields))
    bad, _, values, fields = min(joined, key=lambda j: j[:2])
    if len(values) != len(tokens):
        problems.append(f"{len(tokens)} values: blanks in cs-User-Agent, read by the fields behind it")
    if bad:
        problems.append(
            f"no reading as 44, 47 or 52 fields fits all types; the best leaves {bad} that do not"
        )
    return values, fields


def _mismatches(values: list[str], fields: tuple[LogField, ...]) -> int:
    """How many values are none of their type, dates and GUID included."""
    bad = sum(not typed(f, v)[1] for f, v in zip(fields, values, strict=True))
    bad += not (_DATE.fullmatch(values[1]) or values[1] == "-")
    bad += not (_TIME.fullmatch(values[2]) or values[2] == "-")
    return bad + (values[23].upper() not in ("-", "UDP", "TCP", "UNICAST", "MULTICAST"))


def _type_problems(texts: Mapping[str, str]) -> list[str]:
    found = []
    for name, text in texts.items():
        known = field_named(name)
        if known is not None and not typed(known, text)[1]:
            found.append(f"{name}: expected a {known.type}, found {text[:64]!r}")
    return found


def kind_of(texts: Mapping[str, str]) -> LogKind | None:
    """Which log of MS-WMLOG 2.5 to 2.8 it is, by the fields that are empty."""
    empty = {name for name, text in texts.items() if text in ("", "-")}
    if texts.get("protocol", "").lower() == "cache":
        return "rendering"
    if not texts.keys() & {"c-pkts-received", "cs-uri-stem"}:
        return "connect-time" if texts.keys() & {"c-os", "c-cpu", "transport"} else None
    if "c-pkts-received" not in texts:
        return None
    if "c-pkts-received" in empty:
        return "rendering"
    return "streaming" if {"audiocodec", "videocodec"} <= empty and "cs-url" in texts else "legacy"


def parse_xml(text: str) -> ClientLog:
    """Read an XML log [MS-WMLOG 2.4, 2.8]."""
    text = text[:TEXT_LIMIT]
    begin = text.lower().find("<xml>")
    problems = [] if begin >= 0 else ["expected <XML>, found none"]
    texts: dict[str, str] = {}
    more: dict[str, str] = {}
    summary = ""
    for path, value in _elements(text[max(begin, 0) :]):
        known = field_named(path[-1])
        if path[-1].lower() == "summary" and len(path) == 1:
            summary = value
        elif known is not None and len(path) == 1:
            if texts.setdefault(known.name, value) != value:
                problems.append(f"{known.name} twice: {texts[known.name][:64]!r} and {value[:64]!r}")
        else:
            more.setdefault("/".join(path), value)
    if "</xml>" not in text.lower():
        problems.append("expected </XML>, found the end")
    if summary:
        line = parse_line(summary)
        problems += [f"Summary: {p}" for p in line.problems]
        problems += _differences(texts, line.texts)
        texts = {**line.texts, **texts}
    problems += [p for p in _type_problems(texts) if f"Summary: {p}" not in problems]
    return ClientLog("xml", kind_of(texts), texts, more, tuple(problems))


def _elements(text: str) -> list[tuple[tuple[str, ...], str]]:
    """Elements that hold text, with the names around each of them below <XML>."""
    found: list[tuple[tuple[str, ...], str]] = []
    open_names: list[str] = []
    tags = list(_TAG.finditer(text))
    for i, tag in enumerate(tags):
        name = tag[2]
        if tag[1] or (
            open_names and open_names[-1].lower() == name.lower()
        ):  # <x>…<x> is printed for <x>…</x>
            lowered = [n.lower() for n in open_names]
            if name.lower() in lowered:
                del open_names[len(lowered) - 1 - lowered[::-1].index(name.lower()) :]
            continue
        if name.lower() == "xml":
            open_names.clear()
            continue
        following = tags[i + 1] if i + 1 < len(tags) else None
        value = text[tag.end() : following.start() if following else len(text)]
        leaf = following is None or following[2].lower() == name.lower() or bool(value.strip())
        if len(open_names) < DEPTH_LIMIT:
            open_names.append(name)
        if leaf:
            found.append((tuple(open_names), unescaped(" ".join(value.split()))))
    return found


def _differences(elements: Mapping[str, str], line: Mapping[str, str]) -> list[str]:
    return [
        f"{name}: the element says {elements[name][:64]!r}, the summary {line[name][:64]!r}"
        for name in line
        if name in elements and "".join(elements[name].split()) != "".join(line[name].split())
    ]


def parse_document(data: bytes) -> ClientLog | None:
    """Read a body that may hold a log; None when it holds none.

    A body of ``application/x-wms-sendevent`` holds it inside a content description [MS-WMSP 2.2.5].
    """
    data = data[:TEXT_LIMIT]
    if data.lstrip()[: len(LOG_LINE_PREFIX)].lower() == LOG_LINE_PREFIX.lower():
        return parse_line(_text(data.lstrip()[len(LOG_LINE_PREFIX) :]))
    text = _text(data)
    lowered = text.lower()
    begin = lowered.find("<xml>")
    if begin >= 0 and ("<summary>" in lowered or "<c-" in lowered):
        return parse_xml(text)
    return None


def _text(data: bytes) -> str:
    """UTF-8 [MS-WMLOG 2.2]; bytes that are none stay visible as escapes."""
    return data.decode("utf-8", "backslashreplace").replace("\0", "")


CLIENT_LOG_FIELDS: Final = (
    ("szURL", "cs-uri-stem", "text"),
    ("szChannelURL", "c-channelURL", "text"),
    ("szUserAgent", "cs-User-Agent", "text"),
    ("szHostingWebPage", "cs-Referer", "text"),
    ("qwClientVersion", "c-playerversion", "version"),
    ("szLang", "c-playerlanguage", "text"),
    ("szUniquePID", "c-playerid", "text"),
    ("szHostExe", "c-hostexe", "text"),
    ("qwHostExeVer", "c-hostexever", "version"),
    ("msFileDuration", "filelength", "ms"),
    ("qwFileSize", "filesize", "count"),
    ("dwAvgBandwidthBps", "avgbandwidth", "count"),
    ("szAudioCodec", "audiocodec", "text"),
    ("szVideoCodec", "videocodec", "text"),
    ("msStartTime", "c-starttime", "ms"),
    ("msPlayed", "x-duration", "ms"),
    ("rate", "c-rate", "count"),
    ("dwBufferingCount", "c-buffercount", "count"),
    ("msBufferingTime", "c-totalbuffertime", "ms"),
    ("qwBytesReceived", "c-bytes", "count"),
    ("dwPacketsReceived", "c-pkts-received", "count"),
    ("dwPacketsLostClient", "c-pkts-lost-client", "count"),
    ("dwPacketsRecoveredECC", "c-pkts-recovered-ECC", "count"),
    ("dwMinReceptionQuality", "c-quality", "count"),
    ("dwIPAddress", "c-ip", "ipv4"),
    ("szComputerDNS", "c-dns", "text"),
    ("szOS", "c-os", "text"),
    ("qwOSVersion", "c-osversion", "version"),
    ("szCPU", "c-cpu", "text"),
    ("szProto", "protocol", "text"),
    ("szTransport", "transport", "text"),
    ("dwPacketsLostNet", "c-pkts-lost-net", "count"),
    ("dwPacketsLostContNet", "c-pkts-lost-cont-net", "count"),
    ("dwResendRequests", "c-resendreqs", "count"),
    ("dwPacketsRecoveredResent", "c-pkts-recovered-resent", "count"),
)
"""CLIENT_LOG [MS-MMSP 2.2.1]: its field, that of MS-WMLOG, and how it is written. What else it holds goes to
`ClientLog.more`."""

NO_ADDRESS: Final = 0xFFFFFFFF
"""dwIPAddress of players that do not tell [MS-MMSP 2.2.1.1]."""


def from_client_log(log: Mapping[str, object]) -> ClientLog:
    """A report of the fields of CLIENT_LOG, by the specification's names [MS-MMSP 2.2.1]."""
    texts = {"date": "-", "time": "-"}  # it has neither
    for name, log_name, written in CLIENT_LOG_FIELDS:
        if name in log:
            texts[log_name] = _as_text(log[name], written)
    named = {name for name, _, _ in CLIENT_LOG_FIELDS}
    more = {k: str(v) for k, v in log.items() if k not in named}
    return ClientLog("binary", kind_of(texts), texts, more, tuple(_type_problems(texts)))


def _as_text(value: object, written: str) -> str:
    if not isinstance(value, int):
        return str(value)
    if written == "version":
        return ".".join(str(value >> shift & 0xFFFF) for shift in (48, 32, 16, 0))
    if written == "ms":
        return str(value / 1000)
    if written == "ipv4":
        octets = (value & 0xFFFFFFFF).to_bytes(4, "little")  # in the order of the network
        return "-" if value == NO_ADDRESS else str(ipaddress.IPv4Address(octets))
    return str(value)
