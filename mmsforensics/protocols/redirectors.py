"""Redirectors of Windows Media: the little texts that tell a player what to open.

ASX files (also called WAX, WVX, WMX), ``[Reference]`` files that servers send for rolling over to HTTP,
one-line ``ASF http://…`` files, lists of ``mms:`` addresses, station files
[Windows Media metafile reference; MS-MSB 2.2.1].

Rules of this file:

* an ASX file looks like XML and often is none: tags are read one by one, whatever the case of their names,
  quotes or none, and what is not closed ends where the next element of its kind begins;
* no entity is looked up anywhere: the five of XML and numbers are all there are, so that ``&copy=1`` in an
  address stays as it is;
* what is read is bounded by `TEXT_LIMIT`, `MAX_ENTRIES` and `TAG_LIMIT`; a text cut by one of them says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

from mmsforensics.protocols.entities import unescaped
from mmsforensics.protocols.nsc import parse

TEXT_LIMIT: Final = 1 << 18
"""Characters read; a playlist of thousand entries has some hundred thousand."""

MAX_ENTRIES: Final = 4096
"""Targets taken of one redirector."""

TAG_LIMIT: Final = 8192
"""Characters of one tag: an address of some thousand is the longest that servers take."""

VALUE_LIMIT: Final = 8192
"""Characters kept of one text."""

DEFAULT_PORTS: Final[dict[str, int]] = {
    "mms": 1755,
    "mmst": 1755,
    "mmsu": 1755,
    "rtsp": 554,
    "rtspt": 554,
    "rtspu": 554,
    "http": 80,
    "mmsh": 80,
    "httpu": 80,
    "httpt": 80,
    "https": 443,
    "msbd": 7007,
}
"""Ports by scheme [MS-MMSP 2.1, MS-RTSP 2.1, MS-WMSP 2.1; MS-MSBD]."""

STREAM_HINT: Final = "mswmext"
"""Parameter that servers add to an address to say that it is a stream: ``?MSWMExt=.asf``."""

_NAME = re.compile(r"/?\s*([A-Za-z][A-Za-z0-9_:.-]{0,40})")
_ATTRIBUTE = re.compile(
    r"""([A-Za-z_:][A-Za-z0-9_:.-]{0,80})\s{0,80}=\s{0,80}("[^"]*"?|'[^']*'?|[^\s"'>]+)"""
)
_REFERENCE = re.compile(r"^[ \t]*Ref(\d{1,6})[ \t]*=[ \t]*(.*?)[ \t\r]*$", re.IGNORECASE | re.MULTILINE)
_ONE_LINE = re.compile(r"\s*ASF\s+([A-Za-z][A-Za-z0-9+.-]{1,15}://\S+)\s*$", re.IGNORECASE)
_STREAM_URL = re.compile(r"mms[tuh]?://\S+$", re.IGNORECASE)
_BEGIN = re.compile(rb"(?:[\xef\xbb\xbf\xfe\xff]{2,3})?\s*(?:<asx|<\?xml|<!--|\[|#|asf\s|mms)", re.IGNORECASE)
"""How all of them begin, zeros of UTF-16 left out: spares what is plainly none the decoding."""
_TIME = re.compile(r"(?:(?:(\d{1,6}):)?(\d{1,6}):)?(\d{1,9})(?:\.(\d{1,9}))?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One address that a redirector names."""

    number: int
    """Of the entry, from 1, in the order of the text: the order of playing."""
    alternative: int
    """Of the address in its entry, from 1: a player tries them in turn."""
    kind: str
    """``ref``, ``entryref`` (another redirector), ``multicast`` or ``location``."""
    href: str
    """The address as it is written."""
    target: str
    """The same, relative ones resolved against BASE or the redirector's own address."""
    title: str = ""
    author: str = ""
    start_ms: int | None = None
    duration_ms: int | None = None
    params: tuple[tuple[str, str], ...] = ()
    """PARAM elements of the entry, and of the whole file behind them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirector:
    """What a redirector says."""

    kind: str
    """``asx``, ``reference``, ``asf line``, ``url list`` or ``nsc``."""
    title: str = ""
    author: str = ""
    entries: tuple[Entry, ...] = ()
    cut: bool = False
    """Whether a bound of this reader left something out."""


def read_redirector(data: bytes, url: str = "") -> Redirector | None:
    """Read a redirector.

    Parameters
    ----------
    data : bytes
        The text, in UTF-8, UTF-16 or Windows-1252.
    url : str
        Where it came from, for relative addresses.

    Returns
    -------
    Redirector or None
        None when the bytes are none.
    """
    if not _BEGIN.match(data[:1024].replace(b"\0", b"")):
        return None
    text = text_of(data)
    cut = len(text) > TEXT_LIMIT
    text = text[:TEXT_LIMIT]
    begin = text[:4096].lstrip().lower()
    if re.match(r"(?:<\?xml[^>]*>|<!--.*?-->|\s)*<asx[\s>]", begin, re.DOTALL):
        return _asx(text, url, cut=cut)
    if begin.startswith("[reference]"):
        return _reference(text, url, cut=cut)
    if begin.startswith("[address]"):
        return _station(text, cut=cut)
    line = _ONE_LINE.match(text) if len(text) < VALUE_LIMIT else None
    if line is not None:
        return Redirector(kind="asf line", entries=(_entry(1, 1, "ref", line[1], url),))
    return _url_list(text, url, cut=cut)


def text_of(data: bytes) -> str:
    """The text of bytes whose encoding is told by a mark, by their zeros, or by trying UTF-8."""
    for mark, name in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace")
    if data[1:2] == b"\0" and data[:1] != b"\0":
        return data.decode("utf-16-le", "replace")
    if data[:1] == b"\0" and data[1:2] not in (b"\0", b""):
        return data.decode("utf-16-be", "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.end >= len(data) - 3 and error.reason == "unexpected end of data":  # cut in a character
            return data[: error.start].decode("utf-8")
        return data.decode("cp1252", "replace")


def milliseconds(text: str) -> int | None:
    """Milliseconds of ``hh:mm:ss.fraction``, ``mm:ss`` or seconds; None when it is no time."""
    found = _TIME.match(text.strip())
    if found is None:
        return None
    hours, minutes, seconds, fraction = found.groups()
    whole = (int(hours or 0) * 60 + int(minutes or 0)) * 60 + int(seconds)
    return whole * 1000 + int((fraction or "0").ljust(3, "0")[:3])


def content_key(url: str) -> tuple[str, int | None, str]:
    """What of an address tells the content, whichever protocol carries it.

    Returns
    -------
    host, port, path
        Host in lower case; port, None for the one that goes with the scheme; path and query, percent signs
        decoded, without the hint that it is a stream.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return "", None, url
    if port is None or port in (80, 554, 1755) or port == DEFAULT_PORTS.get(parts.scheme.lower()):
        port = None
    query = "&".join(p for p in parts.query.split("&") if p and not p.lower().startswith(STREAM_HINT + "="))
    path = unquote(parts.path) or "/"
    return host.lower(), port, path + (f"?{unquote(query)}" if query else "")


def resolved(href: str, base: str) -> str:
    """An address, a relative one resolved against a base."""
    href = href.strip()
    try:
        return urljoin(base, href) if base else href
    except ValueError:
        return href


def _entry(number: int, alternative: int, kind: str, href: str, base: str, **more: object) -> Entry:
    href = href[:VALUE_LIMIT].strip()
    return Entry(
        number=number,
        alternative=alternative,
        kind=kind,
        href=href,
        target=resolved(href, base),
        **more,  # type: ignore[arg-type]
    )


def _reference(text: str, url: str, *, cut: bool) -> Redirector:
    """``[Reference]`` with ``Ref1=…``: addresses to be tried in turn."""
    found = [m[2] for m in _REFERENCE.finditer(text) if m[2]]
    entries = tuple(_entry(1, n + 1, "ref", href, url) for n, href in enumerate(found[:MAX_ENTRIES]))
    return Redirector(kind="reference", entries=entries, cut=cut or len(found) > MAX_ENTRIES)


def _station(text: str, *, cut: bool) -> Redirector:
    """A station file, its encoded values decoded [MS-MSB 2.2.1]."""
    station = parse(text.encode("utf-8", "backslashreplace"))
    entries: list[Entry] = []
    address, port = station.address, station.port
    if re.fullmatch(r"[0-9.]{7,15}|[0-9A-Fa-f:]{3,45}", address) and port:
        host = f"[{address}]" if ":" in address else address
        entries.append(_entry(1, 1, "multicast", f"asfm://{host}:{port}", ""))
    unicast = station.text("Unicast URL")
    if "://" in unicast:
        entries.append(_entry(1, len(entries) + 1, "ref", unicast, ""))
    return Redirector(kind="nsc", title=station.text("Name")[:VALUE_LIMIT], entries=tuple(entries), cut=cut)


def _url_list(text: str, url: str, *, cut: bool) -> Redirector | None:
    """Lines that are addresses of MMS, and nothing else but comments; other lists are no Windows Media."""
    lines = [line.strip() for line in text.splitlines()[: 2 * MAX_ENTRIES]]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines or not all(_STREAM_URL.match(line) for line in lines):
        return None
    entries = tuple(_entry(n + 1, 1, "ref", line, url) for n, line in enumerate(lines[:MAX_ENTRIES]))
    return Redirector(kind="url list", entries=entries, cut=cut or len(lines) > MAX_ENTRIES)


@dataclass(slots=True)
class _Element:
    """What is known of an ENTRY, or of the ASX element around it."""

    base: str = ""
    texts: dict[str, str] = field(default_factory=dict)
    params: list[tuple[str, str]] = field(default_factory=list)
    addresses: list[tuple[str, str]] = field(default_factory=list)


def _asx(text: str, url: str, *, cut: bool) -> Redirector:
    whole, current = _Element(), None
    found: list[_Element] = []
    addresses = 0
    for name, closing, attributes, content in _tags(text):
        if name == "entry":
            current = None if closing else _Element()
            if current is not None:
                found.append(current)
        elif name == "asx" and closing:
            current = None
        elif closing:
            continue
        elif name in ("ref", "entryref", "location"):
            addresses += 1
            if addresses > MAX_ENTRIES:
                cut = True
                break
            if current is None or name == "entryref":  # an ENTRYREF stands in the place of an ENTRY
                found.append(_Element())
            (current if current is not None and name != "entryref" else found[-1]).addresses.append(
                (name, attributes.get("href", ""))
            )
        else:
            _describe(whole if current is None else current, name, attributes, content)
    entries = [e for number, element in enumerate(found, 1) for e in _entries(number, element, whole, url)]
    return Redirector(
        kind="asx",
        title=whole.texts.get("title", ""),
        author=whole.texts.get("author", ""),
        entries=tuple(entries),
        cut=cut,
    )


def _describe(element: _Element, name: str, attributes: dict[str, str], content: str) -> None:
    if name in ("title", "author"):
        element.texts.setdefault(name, content)
    elif name in ("duration", "starttime"):
        element.texts.setdefault(name, attributes.get("value", content))
    elif name == "base":
        element.base = attributes.get("href", "") or element.base
    elif name == "param" and len(element.params) < 256:
        element.params.append((attributes.get("name", ""), attributes.get("value", "")))


def _entries(number: int, element: _Element, whole: _Element, url: str) -> Iterator[Entry]:
    base = resolved(element.base or whole.base, url)
    for alternative, (kind, href) in enumerate(element.addresses, 1):
        yield _entry(
            number,
            alternative,
            kind,
            href,
            base or url,
            title=element.texts.get("title", ""),
            author=element.texts.get("author", ""),
            start_ms=milliseconds(element.texts.get("starttime", "")),
            duration_ms=milliseconds(element.texts.get("duration", "")),
            params=(*element.params, *whole.params),
        )


def _tags(text: str) -> Iterator[tuple[str, bool, dict[str, str], str]]:
    """Tags in order: name in lower case, whether it closes, attributes, and the text up to the next tag."""
    at = text.find("<")
    while at >= 0:
        if text.startswith("<!--", at):
            end = text.find("-->", at + 4)
            end = len(text) if end < 0 else end + 2
        else:
            end = _tag_end(text, at)
        following = text.find("<", end)
        name = _NAME.match(text, at + 1, end)
        if name is not None:
            closing = text[at + 1 : at + 2] == "/"
            inner = text[name.end() : end]
            content = text[end + 1 : following if following >= 0 else len(text)]
            attributes = {} if closing else _attributes(inner)
            yield name[1].lower(), closing, attributes, unescaped(content[:VALUE_LIMIT]).strip()
        at = following


def _tag_end(text: str, at: int) -> int:
    """Where a tag ends: at the first ``>`` outside quotes; at the first of all if a quote is not closed."""
    limit = min(at + TAG_LIMIT, len(text))
    first = text.find(">", at, limit)
    if first < 0:
        return limit
    end = first
    while end >= 0:
        part = text[at:end]
        if not _in_quotes(part):
            return end
        end = text.find(">", end + 1, min(first + 1024, limit))
    return first


def _in_quotes(part: str) -> bool:
    quote = ""
    for character in part[-TAG_LIMIT:]:
        if character in "\"'" and quote in ("", character):
            quote = "" if quote else character
    return bool(quote)


def _attributes(inner: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in _ATTRIBUTE.finditer(inner):
        value = match[2]
        if value[0] in "\"'":
            value = value[1:].removesuffix(value[0])
        elif value.endswith("/") and match.end() == len(inner.rstrip()):
            value = value[:-1]  # of an empty element without quotes
        found.setdefault(match[1].lower(), unescaped(value)[:VALUE_LIMIT])
    return found
