"""The fields of Windows Media logs, declared once: what players report, and what servers write.

Rules of this file:

* the order of a player's line is that of `LINE_44`, with `MORE_47` or `MORE_52` behind it [MS-WMLOG 2.2];
* a server's log names its fields itself, in its ``#Fields`` header; `field_named` knows the spellings of
  Windows Media Services 4.1 and of the 9 series, whichever case they are in;
* ``-`` says that there is no value. Blanks in a value were made ``_`` (or ``+``) when it was written, which
  cannot be undone for sure: texts are kept as they stand.

The meanings are those of MS-WMLOG 2.1; fields that only servers write are from the log file reference of
Windows Media Services 9 Series.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

FieldType = Literal["text", "count", "number"]
"""``count``: an integer from 0 that 64 bits hold. ``number``: a decimal number, perhaps negative."""


@dataclass(frozen=True, slots=True)
class LogField:
    """A field of a log entry."""

    name: str
    """As the specification spells it."""
    type: FieldType
    unit: str
    source: str
    """Section of MS-WMLOG; or WMS, the log file reference of Windows Media Services; IIS and QTSS: fields of
    web servers that collect logs, and of an imitation."""
    doc: str

    @property
    def column(self) -> str:
        """Name of its column in the tables."""
        return re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_")


LINE_44: Final = (
    LogField("c-ip", "text", "", "2.1.8", "client's address; of players 0.0.0.0, which a proxy replaces"),
    LogField("date", "text", "", "2.1.36", "date of the entry as it stands"),
    LogField("time", "text", "", "2.1.49", "time of the entry as it stands"),
    LogField("c-dns", "text", "", "2.1.5", "client's host name"),
    LogField(
        "cs-uri-stem", "text", "", "2.1.33", "URL used, without its query; servers of the 9 series: path"
    ),
    LogField("c-starttime", "number", "s", "2.1.24", "place in the content where playing began"),
    LogField("x-duration", "number", "s", "2.1.52", "content played; of a streaming log, time of receiving"),
    LogField("c-rate", "number", "", "2.1.22", "rate of playing, 1 the normal one"),
    LogField("c-status", "count", "", "2.1.25", "200 in order, 210 reconnected; servers: also 4xx and 5xx"),
    LogField(
        "c-playerid", "text", "", "2.1.18", "player's GUID; with 3300AD50-2C39-46c0-AE0A it is anonymous"
    ),
    LogField("c-playerversion", "text", "", "2.1.20", "player's version"),
    LogField("c-playerlanguage", "text", "", "2.1.19", "player's language"),
    LogField("cs-User-Agent", "text", "", "2.1.34", "application; with _via_ a proxy that forwarded the log"),
    LogField("cs-Referer", "text", "", "2.1.31", "web page that the player is embedded in"),
    LogField("c-hostexe", "text", "", "2.1.6", "program that played"),
    LogField("c-hostexever", "text", "", "2.1.7", "its version"),
    LogField("c-os", "text", "", "2.1.10", "client's operating system"),
    LogField("c-osversion", "text", "", "2.1.11", "its version"),
    LogField("c-cpu", "text", "", "2.1.4", "client's processor"),
    LogField("filelength", "number", "s", "2.1.37", "length of the content, 0 of a live one"),
    LogField("filesize", "count", "bytes", "2.1.38", "size of the content, 0 of a live one"),
    LogField("avgbandwidth", "count", "bit/s", "2.1.2", "average rate at which it was received"),
    LogField("protocol", "text", "", "2.1.39", "http, rtsp, asfm, mms, or Cache when it came from the disk"),
    LogField("transport", "text", "", "2.1.50", "UDP or TCP"),
    LogField("audiocodec", "text", "", "2.1.1", "audio codecs that decoded"),
    LogField("videocodec", "text", "", "2.1.51", "video codecs that decoded"),
    LogField("c-channelURL", "text", "", "2.1.27", "station file (.nsc) that was used"),
    LogField("sc-bytes", "count", "bytes", "2.1.48", "bytes that the server sent"),
    LogField("c-bytes", "count", "bytes", "2.1.28", "bytes that the client received"),
    LogField("s-pkts-sent", "count", "ASF packets", "2.1.44", "packets that the server sent"),
    LogField("c-pkts-received", "count", "ASF packets", "2.1.15", "packets received at the first attempt"),
    LogField("c-pkts-lost-client", "count", "ASF packets", "2.1.12", "packets lost and not recovered"),
    LogField("c-pkts-lost-net", "count", "ASF packets", "2.1.14", "packets lost on the network"),
    LogField("c-pkts-lost-cont-net", "count", "ASF packets", "2.1.13", "longest run of packets lost"),
    LogField("c-resendreqs", "count", "", "2.1.23", "requests to send lost packets again"),
    LogField(
        "c-pkts-recovered-ECC", "count", "ASF packets", "2.1.16", "packets restored by error correction"
    ),
    LogField("c-pkts-recovered-resent", "count", "ASF packets", "2.1.17", "packets that came resent or late"),
    LogField("c-buffercount", "count", "", "2.1.3", "how often the client buffered"),
    LogField("c-totalbuffertime", "number", "s", "2.1.26", "time spent buffering"),
    LogField("c-quality", "count", "%", "2.1.21", "share of the packets that the client received"),
    LogField("s-ip", "text", "", "2.1.43", "server's address"),
    LogField("s-dns", "text", "", "2.1.42", "server's host name"),
    LogField("s-totalclients", "count", "", "2.1.47", "clients connected to the server"),
    LogField("s-cpu-util", "count", "%", "2.1.41", "load of the server's processors"),
)
"""Basic logging syntax, log_data44 [MS-WMLOG 2.2.1]."""

MORE_47: Final = (
    LogField("cs-url", "text", "", "2.1.32", "URL first asked for"),
    LogField("cs-media-name", "text", "", "2.1.29", "file or playlist entry"),
    LogField("cs-media-role", "text", "", "2.1.30", "role of the playlist entry"),
)
"""What may follow it [MS-WMLOG 2.2.1]."""

_BY_SERVER: Final = (
    LogField("cs-user-name", "text", "", "2.1.35", "user that was authenticated"),
    LogField("s-session-id", "text", "", "2.1.46", "server's number for the session"),
    LogField("s-content-path", "text", "", "2.1.40", "where the content lies on the server"),
    LogField("c-max-bandwidth", "count", "bit/s", "2.1.9", "largest rate of the client's connection"),
    LogField("s-proxied", "text", "", "2.1.45", "1 when a proxy forwarded the log"),
)
_NAMED: Final = {f.name: f for f in (*MORE_47, *_BY_SERVER)}

MORE_52: Final = tuple(
    _NAMED[name]
    for name in (
        "cs-user-name",
        "s-session-id",
        "s-content-path",
        "cs-url",
        "cs-media-name",
        "c-max-bandwidth",
        "cs-media-role",
        "s-proxied",
    )
)
"""What follows log_data44 in some rendering logs, log_data52 [MS-WMLOG 2.2.2]."""

ONLY_SERVERS: Final = (
    LogField("cs-uri-query", "text", "", "WMS", "query of the URL"),
    LogField("c-username", "text", "", "QTSS", "user that was authenticated, in logs of imitations"),
    LogField("sc-realm", "text", "", "QTSS", "realm of the authentication, in logs of imitations"),
    LogField("sc-respmsg", "text", "", "QTSS", "answer in words, in logs of imitations"),
    LogField("cs-bytes", "count", "bytes", "IIS", "bytes that the server received"),
    LogField("s-port", "count", "", "IIS", "server's port, in logs of web servers"),
    LogField("cs-method", "text", "", "IIS", "method, in logs of web servers"),
    LogField("sc-status", "count", "", "IIS", "answer's status, in logs of web servers"),
    LogField("cs-host", "text", "", "IIS", "host asked for, in logs of web servers"),
    LogField("time-taken", "number", "", "IIS", "time that it took: ms of IIS, s of others"),
)
"""Fields that only servers' logs have."""

CLIENT_FIELDS: Final = (*LINE_44, *MORE_47, *_BY_SERVER)
"""All that a player may report."""

SERVER_FIELDS: Final = (*CLIENT_FIELDS, *ONLY_SERVERS)
"""All that a server's log may hold."""

LINES: Final = {
    44: LINE_44,
    47: (*LINE_44, *MORE_47),
    52: (*LINE_44, *MORE_52),
}
"""Fields of a player's line, by their number."""

_ALIASES: Final = {
    "channelurl": "c-channelURL",
    "cs-username": "cs-user-name",
    "s-sessionid": "s-session-id",
}
_BY_NAME: Final = {f.name.lower(): f for f in SERVER_FIELDS}


def field_named(name: str) -> LogField | None:
    """The field that a log calls so.

    ``cs(User-Agent)`` is cs-User-Agent [W3C Extended Log File Format].
    """
    plain = re.sub(r"^(cs|sc)\(([^()]*)\)$", r"\1-\2", name.strip().lower())
    plain = _ALIASES.get(plain, plain).lower()
    return _BY_NAME.get(plain)


_COUNT = re.compile(r"[0-9]{1,18}")
_NUMBER = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?")
NUMBER_PATTERNS: Final = {"count": _COUNT.pattern, "number": _NUMBER.pattern}
"""What a value of each type looks like."""


def typed(field: LogField, text: str) -> tuple[str | int | float | None, bool]:
    """A value as its type asks for.

    Returns
    -------
    value : str, int, float or None
        None for ``-``, an empty text and what is no value of the type.
    sound : bool
        False if it is no value of the type.
    """
    if text in ("", "-"):
        return None, True
    if field.type == "text":
        return text, True
    pattern = _COUNT if field.type == "count" else _NUMBER
    if pattern.fullmatch(text) is None:
        return None, False
    return (int(text) if field.type == "count" else float(text)), True
