"""What the HTTP headers of MS-WMSP and MS-WMHTTP say: directives, features, request types.

Rules of this file:

* each directive is declared once, with its section and the form of its value; names know no case;
* a value that is not what the specification allows stands under `malformed`, as it was sent; a directive that
  the specification does not know, under `unknown`: nothing is dropped;
* what is glued to a number is told apart: FFmpeg leaves out the line break behind ``stream-time=0``
  and its ``Connection: Close`` becomes part of the Pragma.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from mmsforensics.protocols.messages import Request, Response

U32 = 0xFFFFFFFF

Reading = tuple[object, str]
"""A value, and the text glued to it."""

Use = Literal["request", "response", "both"]


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive (token) of a header."""

    name: str
    section: str
    """Of MS-WMSP."""
    used_in: Use
    read: Callable[[str], Reading | None]
    """Reads the value; None when it is not what the specification allows."""


# --- forms of values -----------------------------------------------------------------------------------


def _number(least: int = 0, most: int = U32) -> Callable[[str], Reading | None]:
    """``1*10DIGIT`` in a range."""

    def read(text: str) -> Reading | None:
        found = re.match(r"([0-9]{1,10})(?![0-9])(.*)$", text, re.DOTALL)
        if found is None or not least <= int(found[1]) <= most:
            return None
        return int(found[1]), found[2]

    return read


def _real(least: float, most: float, *, zero: bool) -> Callable[[str], Reading | None]:
    """A decimal number in a range; `zero` says whether it may be 0."""

    def read(text: str) -> Reading | None:
        found = re.match(r"(-?[0-9]{1,10}(?:\.[0-9]{1,9})?)(?![0-9.])(.*)$", text, re.DOTALL)
        if found is None or not least <= float(found[1]) <= most or (float(found[1]) == 0 and not zero):
            return None
        return float(found[1]), found[2]

    return read


def _nothing(text: str) -> Reading | None:
    """A directive that stands for itself."""
    return (True, "") if not text else (text, "")


def _text(text: str) -> Reading | None:
    """Text, in quotation marks or not."""
    return text.strip().strip('"'), ""


def _names(text: str) -> Reading | None:
    """A list of names in quotation marks."""
    return [name for name in (part.strip() for part in text.strip().strip('"').split(",")) if name], ""


def _offset(text: str) -> Reading | None:
    """The high and the low 32 bits of a byte offset; None stands for an offset that is to be ignored."""
    found = re.match(r"([0-9]{1,10}):([0-9]{1,10})(?![0-9])(.*)$", text, re.DOTALL)
    if found is None or int(found[1]) > U32 or int(found[2]) > U32:
        return None
    offset = int(found[1]) << 32 | int(found[2])
    return (None if offset == U32 << 32 | U32 else offset), found[3]


def _guid(text: str) -> Reading | None:
    """A GUID in registry format."""
    found = re.match(r"(\{[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\})(.*)$", text, re.DOTALL)
    return (found[1], found[2]) if found else None


def _version(text: str) -> Reading | None:
    """Four numbers with dots between them."""
    found = re.match(r"([0-9]{1,5}(?:\.[0-9]{1,5}){1,3})(?![0-9.])(.*)$", text.strip(), re.DOTALL)
    return (found[1], found[2]) if found else None


def _step(text: str) -> Reading | None:
    """-1, 0 or 1."""
    found = re.match(r"(-1|0|1)(?![0-9])(.*)$", text, re.DOTALL)
    return (int(found[1]), found[2]) if found else None


NO_STREAM = 0xFFFF
"""Source of a stream-switch entry that turns a stream on or off instead of replacing one [2.2.1.4.27]."""

THINNING: dict[int, str] = {0: "all of it", 1: "key frames only", 2: "nothing of it"}
"""Thinning level: what of the stream is sent [2.2.1.4.27]."""

_ENTRY = re.compile(r"([0-9A-Fa-f]{1,4}):([0-9A-Fa-f]{1,4}):([012])(?![0-9A-Fa-f:])")


def _switches(text: str) -> Reading | None:
    """Entries ``source:destination:thinning``, the first two in hexadecimal."""
    found = [
        {
            "from": None if int(f[1], 16) == NO_STREAM else int(f[1], 16),
            "to": int(f[2], 16),
            "thinning": int(f[3]),
        }
        for f in _ENTRY.finditer(text)
    ]
    rest = " ".join(_ENTRY.sub("", text).split())
    return (found, rest) if found else None


_u32 = _number()
_flag = _number(0, 1)
_one = _number(1, 1)
_id = _number(1)

# --- Pragma --------------------------------------------------------------------------------------------

PRAGMA: tuple[Directive, ...] = (
    Directive("AccelBW", "2.2.1.4.1", "both", _u32),
    Directive("AccelDuration", "2.2.1.4.2", "both", _u32),
    Directive("BurstBW", "2.2.1.4.3", "both", _u32),
    Directive("BurstDuration", "2.2.1.4.4", "both", _u32),
    Directive("client-id", "2.2.1.4.5", "both", _u32),
    Directive("client-lag", "2.2.1.4.6", "request", _u32),
    Directive("expect-new-header", "2.2.1.4.7", "response", _flag),
    Directive("features", "2.2.1.4.8", "response", _names),
    Directive("LinkBW", "2.2.1.4.9", "request", _u32),
    Directive("log-line", "2.2.1.4.10", "request", _text),
    Directive("max-duration", "2.2.1.4.11", "request", _u32),
    Directive("no-cache", "2.2.1.4.12", "both", _nothing),
    Directive("packet-num", "2.2.1.4.13", "request", _u32),
    Directive("packet-pair-experiment", "2.2.1.4.14", "both", _flag),
    Directive("pipeline-experiment", "2.2.1.4.15", "both", _flag),
    Directive("pipeline-request", "2.2.1.4.16", "request", _one),
    Directive("pipeline-result", "2.2.1.4.17", "response", _flag),
    Directive("playlist-gen-id", "2.2.1.4.18", "request", _id),
    Directive("playlist-seek-id", "2.2.1.4.19", "request", _id),
    Directive("pl-offset", "2.2.1.4.20", "request", _step),
    Directive("proxy-client-agent", "2.2.1.4.21", "request", _text),
    Directive("rate", "2.2.1.4.22", "request", _real(-5, 5, zero=False)),
    Directive("request-context", "2.2.1.4.23", "request", _id),
    Directive("Speed", "2.2.1.4.24", "both", _real(1, U32, zero=False)),
    Directive("stream-offset", "2.2.1.4.25", "request", _offset),
    Directive("stream-switch-count", "2.2.1.4.26", "request", _id),
    Directive("stream-switch-entry", "2.2.1.4.27", "request", _switches),
    Directive("stream-time", "2.2.1.4.28", "request", _u32),
    Directive("timeout", "2.2.1.4.29", "response", _number(1000)),
    Directive("version11-enabled", "2.2.1.4.30", "request", _flag),
    Directive("version-info", "2.2.1.4.31", "response", _version),
    Directive("version-url", "2.2.1.4.32", "response", _text),
    Directive("xClientGUID", "2.2.1.4.33", "request", _guid),
    Directive("xKeepAliveInPause", "2.2.1.4.34", "request", _one),
    Directive("xPlayNextEntry", "2.2.1.4.35", "request", _one),
    Directive("xPlayStrm", "2.2.1.4.36", "request", _flag),
    Directive("xResetStrm", "2.2.1.4.37", "response", _one),
    Directive("xStopStrm", "2.2.1.4.38", "request", _one),
)
"""Tokens of the Pragma header, in the order of the specification."""

SPELLINGS = {"switch-stream-entry": "stream-switch-entry", "switch-stream-count": "stream-switch-count"}
"""How the specification's own examples spell two of them [2.2.1.4.26, 2.2.1.4.27]."""

FEATURES: dict[str, str] = {
    "broadcast": "2.2.1.4.8.1",
    "last": "2.2.1.4.8.2",
    "live": "2.2.1.4.8.3",
    "playlist": "2.2.1.4.8.4",
    "seekable": "2.2.1.4.8.5",
    "skipbackward": "2.2.1.4.8.6",
    "skipforward": "2.2.1.4.8.7",
    "stridable": "2.2.1.4.8.8",
}
"""Names in the directive ``features``."""

# --- other headers -------------------------------------------------------------------------------------

SUPPORTED: dict[str, str] = {
    "com.microsoft.wm.fastcache": "2.2.1.7.1",
    "com.microsoft.wm.predstrm": "2.2.1.7.2",
    "com.microsoft.wm.srvppair": "2.2.1.7.3",
    "com.microsoft.wm.sswitch": "2.2.1.7.4",
    "com.microsoft.wm.startupprofile": "2.2.1.7.5",
}
"""Tokens of the header Supported."""

CACHE_CONTROL: tuple[Directive, ...] = (
    Directive("no-cache", "2.2.1.1", "both", _nothing),
    Directive("max-age", "2.2.1.1.1", "response", _u32),
    Directive("must-revalidate", "2.2.1.1.2", "response", _nothing),
    Directive("no-store", "2.2.1.1.3", "response", _nothing),
    Directive("private", "2.2.1.1.4", "response", _nothing),
    Directive("proxy-revalidate", "2.2.1.1.5", "response", _nothing),
    Directive("public", "2.2.1.1.6", "response", _nothing),
    Directive("proxy-public", "2.2.1.1.7", "response", _nothing),
    Directive("user-public", "2.2.1.1.8", "response", _nothing),
    Directive("x-wms-content-size", "2.2.1.1.9", "response", _number(0, 10**10 - 1)),
    Directive("x-wms-event-subscription", "2.2.1.1.10", "response", _names),
    Directive("x-wms-proxy-split", "2.2.1.1.11", "response", _text),
    Directive("x-wms-stream-type", "2.2.1.1.12", "response", _names),
)
"""Directives of the header Cache-Control."""

STARTUP_PROFILE: dict[str, str] = {
    "Rate": "2.2.1.12.1",
    "MaxBytes": "2.2.1.12.2",
    "Time": "2.2.1.12.3",
    "StartTime": "2.2.1.12.4",
    "LastTime": "2.2.1.12.5",
    "MaxDiffTime": "2.2.1.12.6",
    "MaxDiffSndTime": "2.2.1.12.7",
    "ByteRate": "2.2.1.12.8",
}
"""Parameters of the header X-StartupProfile; each is a list of numbers."""

HEADERS: dict[str, str] = {
    "Cache-Control": "2.2.1.1",
    "Content-Type": "2.2.1.2",
    "Cookie": "2.2.1.3",
    "Pragma": "2.2.1.4",
    "Server": "2.2.1.5",
    "Set-Cookie": "2.2.1.6",
    "Supported": "2.2.1.7",
    "User-Agent": "2.2.1.8",
    "X-Accept-Authentication": "2.2.1.9",
    "X-Accept-Proxy-Authentication": "2.2.1.10",
    "X-Proxy-Client-Verb": "2.2.1.11",
    "X-StartupProfile": "2.2.1.12",
}
"""Headers that MS-WMSP defines or narrows."""

CONTENT_TYPES: dict[str, str] = {
    "application/octet-stream": "2.2.1.2.1",
    "application/vnd.ms.wms-hdr.asfv1": "2.2.1.2.2",
    "application/x-mms-framed": "2.2.1.2.3",
    "application/x-wms-getcontentinfo": "2.2.1.2.4",
    "application/x-wms-LogStats": "2.2.1.2.5",
    "application/x-wms-sendevent": "2.2.1.2.6",
    "text/plain": "2.2.1.2.7",
}
"""Media types; what a body holds is decided by its bytes."""

PUSH_CONTENT_TYPES: dict[str, str] = {
    "application/x-wms-pushsetup": "2.2.1.1.1",
    "application/x-wms-pushstart": "2.2.1.1.2",
}
"""Media types of MS-WMHTTP."""

REQUEST_TYPES: dict[str, str] = {
    "Describe": "2.2.2.1",
    "GetContentInfo": "2.2.2.2",
    "KeepAlive": "2.2.2.3",
    "Log": "2.2.2.4",
    "Pipeline": "2.2.2.5",
    "Play": "2.2.2.6",
    "PlayNextEntry": "2.2.2.7",
    "SelectStream": "2.2.2.8",
    "SendEvent": "2.2.2.9",
    "Stop": "2.2.2.10",
}
"""Request types of MS-WMSP."""

PUSH_REQUEST_TYPES: dict[str, str] = {"PushSetup": "2.2.2.1", "PushStart": "2.2.2.2"}
"""Request types of MS-WMHTTP."""


# --- reading -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Directives:
    """The directives of one header field, from all its lines."""

    known: Mapping[str, object] = field(default_factory=dict)
    """By the specification's names; the first, where one is repeated."""
    repeated: tuple[tuple[str, object], ...] = ()
    unknown: tuple[tuple[str, str], ...] = ()
    malformed: tuple[tuple[str, str], ...] = ()
    """Directives whose value the specification does not allow, and what was glued to one."""

    def number(self, name: str) -> int:
        """A number; 0 where there is none."""
        value = self.known.get(name)
        return value if isinstance(value, int) else 0

    def text(self, name: str) -> str:
        """A text; empty where there is none."""
        value = self.known.get(name)
        return value if isinstance(value, str) else ""


_TOKEN = re.compile(r'\s*([^\s=,";]+)\s*(?:=\s*("[^"]*"?|[^,]*))?\s*(?:,|$)')
_PRAGMA = {d.name.lower(): d for d in PRAGMA}
_CACHE_CONTROL = {d.name.lower(): d for d in CACHE_CONTROL}
LOG_LINE = re.compile(r"\s*log-line=(.*)$", re.IGNORECASE | re.DOTALL)
"""Takes the rest of its header: it may hold commas [2.2.1.4.10]."""


def _tokens(line: str) -> Iterable[tuple[str, str]]:
    """Name and value of each directive of one line."""
    at = 0
    while at < len(line):
        log = LOG_LINE.match(line, at)
        if log is not None:
            yield "log-line", log[1].strip()
            return
        found = _TOKEN.match(line, at)
        if found is None:
            end = line.find(",", at)
            rest = line[at:] if end < 0 else line[at:end]
            if rest.strip():
                yield "", rest.strip()
            at = len(line) if end < 0 else end + 1
            continue
        yield found[1], (found[2] or "").strip()
        at = max(found.end(), at + 1)


def read_directives(lines: Iterable[str], declared: Mapping[str, Directive]) -> Directives:
    """Read the directives of a header field.

    Parameters
    ----------
    lines : iterable of str
        Its values, one for each line of the message.
    declared : mapping
        The directives by their names in lower case.
    """
    known: dict[str, object] = {}
    repeated: list[tuple[str, object]] = []
    unknown: list[tuple[str, str]] = []
    malformed: list[tuple[str, str]] = []
    for line in lines:
        for name, text in _tokens(line):
            directive = declared.get(SPELLINGS.get(name.lower(), name.lower()))
            if directive is None:
                unknown.append((name, text))
                continue
            reading = directive.read(text)
            if reading is None:
                malformed.append((directive.name, text))
                continue
            value, glued = reading
            if glued.strip():
                malformed.append((directive.name, glued.strip()))
            if directive.name in known:
                repeated.append((directive.name, value))
            else:
                known[directive.name] = value
    return Directives(known, tuple(repeated), tuple(unknown), tuple(malformed))


def _lines(message: Request | Response, name: str) -> list[str]:
    return [value for key, value in message.headers if key.lower() == name]


def read_pragma(message: Request | Response) -> Directives:
    """The Pragma directives of a message [2.2.1.4]."""
    return read_directives(_lines(message, "pragma"), _PRAGMA)


def read_cache_control(message: Request | Response) -> Directives:
    """The Cache-Control directives of a message [2.2.1.1]."""
    return read_directives(_lines(message, "cache-control"), _CACHE_CONTROL)


def read_supported(message: Request | Response) -> list[str]:
    """Features that a message's sender supports [2.2.1.7], those unknown to the specification too."""
    return [name for name in (part.strip() for part in message.header("supported").split(",")) if name]


def read_startup_profile(message: Request | Response) -> dict[str, list[int] | str]:
    """The parameters of X-StartupProfile [2.2.1.12]; one that is no list of numbers stays text."""
    found: dict[str, list[int] | str] = {}
    for part in message.header("x-startupprofile").split(";"):
        name, equals, text = part.strip().partition("=")
        if not equals:
            continue
        name = next((known for known in STARTUP_PROFILE if known.lower() == name.lower()), name)
        numbers = re.fullmatch(r"-?[0-9]{1,10}(?:,\s*-?[0-9]{1,10})*", text.strip())
        found[name] = [int(n) for n in text.split(",")] if numbers else text.strip()
    return found


def request_type(request: Request, pragma: Directives) -> str:
    """Which request of MS-WMSP [2.2.2] or MS-WMHTTP [2.2.2] this is; empty for one that is neither.

    Any GET that is nothing else is a Describe: whether a Windows Media player sent it, others say.
    """
    content_type = request.header("content-type").split(";")[0].strip().lower()
    known = pragma.known
    if request.method == "OPTIONS":
        return "KeepAlive"
    if request.method == "GET":
        if "pipeline-request" in known:
            return "Pipeline"
        if known.get("xPlayStrm") == 1:
            return "Play"
        if "xPlayNextEntry" in known:
            return "PlayNextEntry"
        return "SelectStream" if "stream-switch-entry" in known else "Describe"
    if request.method != "POST":
        return ""
    by_type = {
        "application/x-wms-pushsetup": "PushSetup",
        "application/x-wms-pushstart": "PushStart",
        "application/x-wms-getcontentinfo": "GetContentInfo",
        "application/x-wms-sendevent": "SendEvent",
        "application/x-wms-logstats": "Log",
    }
    if content_type in by_type:
        return by_type[content_type]
    for name, kind in (
        ("log-line", "Log"),
        ("xStopStrm", "Stop"),
        ("stream-switch-entry", "SelectStream"),
        ("xKeepAliveInPause", "KeepAlive"),
    ):
        if name in known:
            return kind
    return "Log" if content_type == "text/plain" else ""
