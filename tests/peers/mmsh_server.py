"""A Windows Media HTTP (MMSH) server, and a scripted client, written from [MS-WMSP] with `struct` code.

`Site` holds the server's logic without sockets: `MmshServer` runs it behind a port, `transcript` runs it
against the client. Both keep what was sent, which is the ground truth for a recovery.
"""

import itertools
import random
import re
import struct
from dataclasses import dataclass

from .asf_file import Segment, as_playlist, faithful
from .tcp_server import TcpServer

__all__ = ["MmshOptions", "MmshServer", "Request", "Site", "faithful", "framed", "transcript", "transcripts"]

AF_FIRST, AF_MIDDLE, AF_END, AF_ONLY = 0x04, 0x00, 0x08, 0x0C
DESCRIBE_TYPE, PLAY_TYPE = "application/vnd.ms.wms-hdr.asfv1", "application/x-mms-framed"
OLD_TYPE = "application/octet-stream"
UNUSED = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class MmshOptions:
    """How the server behaves where the specification, or real servers, leave a choice."""

    padding: str = "zero-field"  # of media packets: 'keep' or 'zero-field'
    chunked: str = "never"  # HTTP chunks for Play: 'never', 'asked' (version11-enabled=1) or 'always'
    chunk_seed: int = 80  # of the chunk sizes, which know nothing of $ packets
    chunk_limit: int = 1500  # bytes of the largest chunk
    header_fragment: int | None = None  # payload bytes of a $H packet; None: as many as fit
    metadata: bool = True  # $M, to clients from 9.0 on
    packet_pair: bool = True  # three $P in Describe, if asked
    b_bit: int = 0  # the first so many $D of a Play begin with 0xA4
    end_repeats: int = 0  # further $E packets behind the last one
    octet_stream: bool = False  # Content-Type of old servers
    version: str = "9.01.01.5001"


# --- framing ---------------------------------------------------------------------------------------


def framed(kind, body, *, b_bit=False):
    """A packet with framing header [2.2.3.1.1]."""
    return struct.pack("<BBH", 0xA4 if b_bit else 0x24, ord(kind), len(body)) + body


def data_packet(kind, location, incarnation, af_flags, payload, *, b_bit=False):
    """$D, $H or $M: a framing header and an MMS data packet [2.2.3.1.2]."""
    head = struct.pack("<IBBH", location, incarnation, af_flags, 8 + len(payload))
    return framed(kind, head + payload, b_bit=b_bit)


def in_parts(kind, payload, size, incarnation=0):
    """$H or $M packets of at most `size` payload bytes: first, middle, last, or the only one."""
    parts = [payload[at : at + size] for at in range(0, len(payload), size)]
    flags = [AF_FIRST] + [AF_MIDDLE] * (len(parts) - 2) + [AF_END] if len(parts) > 1 else [AF_ONLY]
    return [data_packet(kind, i, incarnation, flags[i], part) for i, part in enumerate(parts)]


def packet_pair(response_head):
    """Three $P packets [2.2.3.7]; PacketLength leaves out Reason, and is not the payload of 1st and 3rd."""
    reason = min(504, len(response_head))
    noise = random.Random(504)
    return [
        struct.pack("<BBHI", 0x24, ord("P"), length, reason) + noise.randbytes(payload)
        for length, payload in ((504, 504 - reason), (504, 504), (1048, 1048 + reason))
    ]


def in_chunks(units, seed, limit):
    """HTTP chunks of a body [RFC 9112 7.1], cut without regard to the units; ends with the zero chunk."""
    sizes, buffer = random.Random(seed), b""
    size = sizes.randint(1, limit)
    for unit in units:
        buffer += unit
        while len(buffer) >= size:
            piece, buffer = buffer[:size], buffer[size:]
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
            size = sizes.randint(1, limit)
    if buffer:
        yield b"%x\r\n%b\r\n" % (len(buffer), buffer)
    yield b"0\r\n\r\n"


def content_description(*values):
    """A content description list of one entry [2.2.4]; values are (name, type, text)."""
    pairs = [f"{len(name)},{name},{kind},{len(value.encode())},{value}" for name, kind, value in values]
    return ",".join(pairs) + "\r\n"


def closes(head):
    """Whether a response head ends its connection."""
    return b"\r\nConnection: close\r\n" in head


# --- HTTP requests ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request as far as the server cares."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    version: str = "HTTP/1.1"

    @property
    def closes(self):
        """Whether the connection ends with the response [RFC 9112 9.3]."""
        connection = self.header("Connection").lower()
        return connection == "close" or (self.version != "HTTP/1.1" and connection != "keep-alive")

    def header(self, name):
        """First value of a header, or ''."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    @property
    def pragma(self):
        """Pragma tokens with their values; FFmpeg's `stream-time=0Connection` is one of them."""
        text = ",".join(value for key, value in self.headers if key.lower() == "pragma")
        return {k.lower(): v for k, v in re.findall(r"([\w-]+)=([^,]*)", text)}

    @property
    def streams(self):
        """Streams selected by stream-switch-entry, in either spelling; its numbers are hexadecimal."""
        text = " ".join(value for key, value in self.headers if key.lower() == "pragma")
        found = re.search(r"(?:stream-switch|switch-stream)-entry=([0-9a-fA-F: ]+)", text)
        entries = [[int(n, 16) for n in entry.split(":")] for entry in (found[1] if found else "").split()]
        return {target for _, target, thinning in entries if target != 0xFFFF and thinning < 2}

    def number(self, token, default=0):
        """Leading digits of a Pragma token's value."""
        found = re.match(r"\d+", self.pragma.get(token, ""))
        return int(found[0]) if found else default


def take_request(buffer):
    """(request, rest) of the first whole request in `buffer`; the request is None if there is none."""
    head, found, rest = buffer.partition(b"\r\n\r\n")
    if not found:
        return None, buffer
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, version, *_ = [*first.split(" "), "", ""]
    headers = tuple((k.strip(), v.strip()) for k, _, v in (line.partition(":") for line in lines))
    request = Request(method, target, headers, version=version)
    length = int(request.header("Content-Length") or 0)
    if len(rest) < length:
        return None, buffer
    return Request(method, target, headers, rest[:length], version), rest[length:]


# --- the server's logic ----------------------------------------------------------------------------


@dataclass(slots=True)
class Client:
    """What the server remembers of a client-id."""

    number: int
    sequence: int = 0


class Site:
    """The files of a server and its clients. `answer` gives the parts of a response, lazily.

    `segments` holds what was played; `described` the names of Describe responses; `requests` what came.
    """

    def __init__(self, files, options=None):
        self._files = {name: as_playlist(entry) for name, entry in files.items()}
        self.options = MmshOptions() if options is None else options
        self.segments, self.described, self.requests, self.logs = [], [], [], []
        self._clients, self._numbers = {}, itertools.count(3375607473)

    def answer(self, request):
        """Parts of the response to a request; the last response of a connection says Connection: close."""
        kind = self.kind_of(request)
        self.requests.append((kind, request))
        if kind == "log":
            self.logs.append(request.body or request.pragma.get("log-line", ""))
            return [self._head("204 No Content", close=request.closes)]
        if kind in ("keep-alive", "options"):
            return [self._head("200 OK", length=0, close=request.closes)]
        name = request.target.split("?")[0].lstrip("/")
        if kind == "unknown" or name not in self._files:
            head = self._head("404 File Not Found", "text/html", length=9, close=request.closes)
            return [head, b"not found"]
        return (self._play if kind == "play" else self._describe)(name, request)

    @staticmethod
    def kind_of(request):
        """Request type [2.2.2]."""
        if request.method == "OPTIONS":
            return "options"
        if request.method == "GET":
            return "play" if request.number("xplaystrm") == 1 else "describe"
        if "xkeepaliveinpause" in request.pragma:
            return "keep-alive"
        if "log-line" in request.pragma or request.header("Content-Type").lower().endswith("logstats"):
            return "log"
        return "unknown"

    def _head(self, status, kind="", *, length=None, close=False, chunked=False, pragma=(), size=None):
        lines = [f"HTTP/1.1 {status}"]
        lines += [f"Content-Type: {kind}"] if kind else []
        lines += ["Transfer-Encoding: chunked"] if chunked else []
        lines += [f"Content-Length: {length}"] if length is not None else []
        lines += [f"Server: Cougar/{self.options.version}"]
        lines += [f"Cache-Control: no-cache, x-wms-content-size={size}"] if size is not None else []
        lines += [f"Pragma: {value}" for value in pragma] + ["Connection: close"] * close
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _size(self, name):
        asf = self._files[name][0]
        return len(asf.header) + len(asf.packets) * asf.packet_size

    def _client(self, request):
        """The client of a request's client-id; a new one, and the Pragmas to say so."""
        number = request.number("client-id")
        reset = bool(number) and number not in self._clients
        if number not in self._clients:
            number = next(self._numbers)
            self._clients[number] = Client(number)
        pragma = ["no-cache", f"client-id={number}", 'features="seekable,stridable"', "timeout=60000"]
        return self._clients[number], pragma + ["xResetStrm=1"] * reset

    def _introduction(self, asf, entry, request):
        """[$M] $H…, for a Describe, a Play and each playlist entry."""
        units = []
        agent = re.match(r"NSPlayer/(\d+)", request.header("User-Agent"))
        if self.options.metadata and agent and int(agent[1]) >= 9:
            text = f'playlist-gen-id={entry + 1}, broadcast-id=0, features="seekable,stridable"'
            duration = str(round(asf.duration * 1000))
            description = content_description(
                ("language", 31, "en-us"),
                ("WMS_CONTENT_DESCRIPTION_PLAYLIST_ENTRY_DURATION", 3, duration),
                ("WMS_CONTENT_DESCRIPTION_PLAYLIST_ENTRY_URL", 31, f"entry, number {entry + 1}.wmv"),
            )
            units += in_parts(
                "M", (text + "\0" + description).encode(), self.options.header_fragment or 60000
            )
        return units + in_parts("H", asf.header, self.options.header_fragment or 60000)

    def _describe(self, name, request):
        _, pragma = self._client(request)
        pairs = self.options.packet_pair and request.number("packet-pair-experiment") == 1
        pragma += ["packet-pair-experiment=1"] * pairs
        body = b"".join(self._introduction(self._files[name][0], 0, request))
        kind = OLD_TYPE if self.options.octet_stream else DESCRIBE_TYPE
        head = self._head(
            "200 OK",
            kind,
            length=len(body) + 2080 * pairs,
            pragma=pragma,
            size=self._size(name),
            close=request.closes,
        )
        self.described.append(name)
        return [head, b"".join(packet_pair(head)) + body if pairs else body]

    def _play(self, name, request):
        options = self.options
        client, pragma = self._client(request)
        asked = request.number("version11-enabled") == 1
        chunked = options.chunked == "always" or (options.chunked == "asked" and asked)
        chunked = chunked and request.version == "HTTP/1.1"
        kind = OLD_TYPE if options.octet_stream else PLAY_TYPE
        yield self._head(
            "200 OK",
            kind,
            close=request.closes or not chunked,
            chunked=chunked,
            pragma=pragma,
            size=self._size(name),
        )
        units = self._playing(name, client, request)
        yield from in_chunks(units, options.chunk_seed, options.chunk_limit) if chunked else units

    @staticmethod
    def first_packet(asf, request):
        """Where a Play begins: packet-num, stream-offset, stream-time [2.2.1.4]."""
        number = request.number("packet-num", UNUSED)
        if number != UNUSED:
            return number
        offset = re.match(r"(\d+):(\d+)", request.pragma.get("stream-offset", ""))
        if offset:
            whole = int(offset[1]) << 32 | int(offset[2])
            if whole not in (0, UNUSED << 32 | UNUSED):
                return max(0, whole - len(asf.header)) // asf.packet_size
        return asf.packet_at(request.number("stream-time") / 1000)

    def _playing(self, name, client, request):
        """[$M] $H $D… $E, and for each further entry of a playlist $C [$M] $H $D… $E."""
        options = self.options
        if client.sequence % 256 == 0xFF:  # on a new Play, 254 is followed by 0 [2.2.3.3]
            client.sequence += 1
        b_bits = options.b_bit
        entries = self._files[name]
        for entry, asf in enumerate(entries):
            if entry:
                yield framed("C", struct.pack("<I", 0))
            segment = Segment(asf.header, asf.packet_size, name=name, incarnation=0)
            self.segments.append(segment)
            yield from self._introduction(asf, entry, request)
            for number in range(0 if entry else self.first_packet(asf, request), len(asf.packets)):
                # a later entry of a playlist goes out whole: nobody could choose of it before it began
                payload = asf.sent(number, options.padding, None if entry else request.streams)
                if payload is None:  # nothing selected in it: a hole in the LocationIds that is no loss
                    continue
                segment.packets.append((number, payload))
                yield data_packet("D", number, 0, client.sequence % 256, payload, b_bit=b_bits > 0)
                client.sequence += 1
                b_bits -= 1
            yield framed("E", struct.pack("<I", int(entry + 1 < len(entries))))
        for _ in range(options.end_repeats):
            yield framed("E", struct.pack("<I", 0))


# --- behind a port ---------------------------------------------------------------------------------


class MmshServer:
    """Serve `files` (name → path, AsfFile, or list of those for a playlist) at 127.0.0.1:`port`."""

    def __init__(self, files, options=None):
        self.site = Site(files, options)
        self._server = TcpServer(self._serve)
        self.port, self.errors = self._server.port, self._server.errors

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def sent(self):
        """Segments of all Plays."""
        return self.site.segments

    @property
    def commands(self):
        """(direction, request type) of what came: 'describe', 'play', 'log', …"""
        return [("c", kind) for kind, _ in self.site.requests]

    def wait(self, timeout=5.0):
        """Wait until the connections made so far have ended."""
        self._server.wait(timeout)

    def close(self):
        """Stop serving."""
        self._server.close()

    def _serve(self, connection):
        buffer = b""
        while data := connection.recv(65536):
            buffer += data
            request, buffer = take_request(buffer)
            while request is not None:
                closing = False
                for i, part in enumerate(self.site.answer(request)):
                    closing = closing or (i == 0 and closes(part))
                    connection.sendall(part)
                if closing:
                    return
                request, buffer = take_request(buffer)


# --- a client of the specification -----------------------------------------------------------------

GUID = "{3300AD50-2C39-46C0-AE0A-70B64F321A80}"
AGENT = "NSPlayer/9.0.0.2980"


class _Browser:
    """NSPlayer 9 as a script: requests to a site, and both sides' bytes of each connection."""

    def __init__(self, site, *, host, agent, guid, keep_alive):
        self._site, self._host, self._agent, self._guid = site, host, agent, guid
        self._keep_alive, self._closed = keep_alive, True
        self.conversations, self.client_id = [], 0

    def send(self, method, target, *pragmas, headers=(), body=None):
        """Send a request, on a new connection if the last one ended; returns the response's head."""
        if self._closed:
            self.conversations.append([])
        lines = [f"{method} {target} HTTP/1.1", "Accept: */*", f"User-Agent: {self._agent}"]
        lines += [f"Host: {self._host}", f"Pragma: xClientGUID={self._guid}"]
        lines += [f"Pragma: {one}" for one in pragmas if one] + list(headers)
        lines += [f"Content-Length: {len(body)}"] if body is not None else []
        data = ("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b"")
        conversation = self.conversations[-1]
        conversation.append(("c", data))
        request, _ = take_request(data)
        parts = list(self._site.answer(request))
        conversation += [("s", part) for part in parts]
        self._closed = not self._keep_alive or closes(parts[0])
        found = re.search(rb"client-id=(\d+)", parts[0])
        self.client_id = int(found[1]) if found else self.client_id
        return parts[0]

    def play(self, target, streams, packet=UNUSED, version11=True):
        """Play from a packet number."""
        entries = " ".join(f"ffff:{stream:x}:0" for stream in streams)
        position = f"no-cache,rate=1.000,stream-time=0,stream-offset=0:0,packet-num={packet},max-duration=0"
        tokens = f"xPlayStrm=1,client-id={self.client_id},version11-enabled={int(version11)}"
        count = f"stream-switch-count={len(streams)}"
        return self.send("GET", target, position, tokens, count, f"stream-switch-entry={entries}")


def transcripts(
    files,
    options=None,
    *,
    name=None,
    again=None,
    host="media.example.com",
    agent=AGENT,
    guid=GUID,
    streams=None,
    packet_pair=False,
    version11=True,
    keep_alive=True,
    pause=False,
    log=True,
):
    """A whole session as (list of conversations, segments), one conversation for each connection.

    Describe, Play, if asked KeepAlive (`pause`) and Play `again` from that packet number, then Log. `name` is
    the file asked for (default: the first one; one that is not served is answered 404 and no more is asked).
    `streams` are those selected (default: all): other payloads are cut out, packets left empty not sent.
    Without `keep_alive` each request has its own connection, otherwise only those after an unchunked Play.
    """
    name = next(iter(files)) if name is None else name
    site, target = Site(files, options), f"/{name}"
    browser = _Browser(site, host=host, agent=agent, guid=guid, keep_alive=keep_alive)
    start = "no-cache,rate=1.000,stream-time=0,stream-offset=0:0,packet-num=4294967295,max-duration=0"
    head = browser.send("GET", target, start, "packet-pair-experiment=1" if packet_pair else "")
    if head.startswith(b"HTTP/1.1 200"):
        wanted = as_playlist(files[name])[0].streams if streams is None else streams
        browser.play(target, wanted, version11=version11)
        if pause:
            browser.send("POST", target, f"xKeepAliveInPause=1,client-id={browser.client_id}", body=b"")
        if again is not None:
            browser.play(target, wanted, again, version11=version11)
        if log:
            summary = f"<XML><c-ip>0.0.0.0</c-ip><cs-uri-stem>http://{host}/{name}</cs-uri-stem></XML>\r\n"
            browser.send(
                "POST",
                target,
                f"client-id={browser.client_id}",
                headers=["Content-Type: application/x-wms-LogStats"],
                body=summary.encode(),
            )
    return browser.conversations, site.segments


def transcript(files, options=None, *, log=None, **script):
    """A session on one connection as (conversation, segments); arguments are those of `transcripts`.

    An unchunked Play ends its connection: nothing can follow it here, and Log is left out by default.
    """
    options = MmshOptions() if options is None else options
    if log is None:
        asked = options.chunked == "asked" and script.get("version11", True)
        log = options.chunked == "always" or asked
    conversations, segments = transcripts(files, options, log=log, **script)
    if len(conversations) != 1:
        raise ValueError(f"this session takes {len(conversations)} connections: use transcripts")
    return conversations[0], segments
