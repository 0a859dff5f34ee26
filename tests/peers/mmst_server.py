"""An MMS over TCP server, and a scripted client, written from [MS-MMSP] with independent `struct` code.

`Session` holds the server's logic without sockets: `MmstServer` runs it behind a port, `transcript` runs it
against the client. Both keep what was sent, which is the ground truth for a recovery.
"""

import random
import select
import struct
from dataclasses import dataclass

from .asf_file import Segment, as_playlist, faithful
from .tcp_server import TcpServer

__all__ = ["MmstOptions", "MmstServer", "Session", "faithful", "logging_body", "record", "transcript"]

SESSION_ID, SEAL = 0xB00BFACE, 0x20534D4D

# client to server [MS-MMSP 2.2.4]
CONNECT, CONNECT_FUNNEL, OPEN_FILE, START_PLAYING = 0x00030001, 0x00030002, 0x00030005, 0x00030007
STOP_PLAYING, CLOSE_FILE, READ_BLOCK, FUNNEL_INFO = 0x00030009, 0x0003000D, 0x00030015, 0x00030018
PONG, CANCEL_READ_BLOCK, LOGGING, STREAM_SWITCH = 0x0003001B, 0x00030025, 0x00030032, 0x00030033

# server to client
REPORT_CONNECTED_EX, REPORT_CONNECTED_FUNNEL, REPORT_STARTED = 0x00040001, 0x00040002, 0x00040005
REPORT_OPEN_FILE, REPORT_READ_BLOCK, REPORT_FUNNEL_INFO = 0x00040006, 0x00040011, 0x00040015
PING, REPORT_END_OF_STREAM, REPORT_STREAM_CHANGE = 0x0004001B, 0x0004001E, 0x00040020
REPORT_STREAM_SWITCH = 0x00040021

FILE_NOT_FOUND = 0x80070002
CAN_STRIDE, CAN_SEEK, PLAYLIST = 0x00800000, 0x01000000, 0x40000000
NO_PACKET_PAIR, PACKET_PAIR, PACKET_PAIR_ENTROPY = 0xF0F0F0EF, 0xF0F0F0F0, 0xF0F0F0F1
AF_MORE, AF_LAST = 0x04, 0x0C
STREAM_CHANGE_INCARNATION = 0xFF
UNUSED = (0, 0xFFFFFFFF)
DBL_MAX = bytes.fromhex("ffffffffffffef7f")


@dataclass(frozen=True, slots=True)
class MmstOptions:
    """How the server behaves where the specification, or real servers, leave a choice."""

    padding: str = "zero-field"  # of media packets: 'keep' or 'zero-field'
    header_fragment: int | None = None  # payload bytes of a header Data packet; None: the packet size
    combine: bool = False  # several MMS messages in one TcpMessageHeader (adds Pings to have some)
    chunk_count: str = "client"  # 'client' = messageLength/8, 'spec' = record/8
    record_padding: int = 0  # byte 3 of the TcpMessageHeader, ignored by receivers
    ping_at: int | None = None  # send a Ping before this media packet of the session
    version: str = "9.01.01.5001"


# --- framing ---------------------------------------------------------------------------------------


def text(value, *, nul=True):
    """UTF-16LE text, NUL-terminated."""
    return (value + "\0" * nul).encode("utf-16-le")


def message(mid, body):
    """An MMS message [2.2.4]: chunkLen, MID, fields, padding to a multiple of eight."""
    size = -(-(8 + len(body)) // 8)
    return (struct.pack("<II", size, mid) + body).ljust(8 * size, b"\0")


def record(messages, seq, *, padding=0, chunk_count="client", time_sent=0):
    """A TcpMessageHeader [2.2.3] with MMS messages behind it."""
    body = b"".join(messages)
    chunks = (len(body) + (16 if chunk_count == "client" else 32)) // 8
    head = struct.pack("<BBBBII", 1, 0, 0, padding, SESSION_ID, len(body) + 16)
    return head + struct.pack("<IIHHQ", SEAL, chunks, seq % 65536, 0, time_sent) + body


def data_packet(location, incarnation, af_flags, payload):
    """A Data packet [2.2.2]."""
    return struct.pack("<IBBH", location, incarnation, af_flags, 8 + len(payload)) + payload


def messages_of(body):
    """The (MID, fields) of the MMS messages in a record's body."""
    at = 0
    while at + 8 <= len(body):
        size, mid = struct.unpack_from("<II", body, at)
        if size < 1:
            return
        yield mid, body[at + 8 : at + 8 * size]
        at += 8 * size


# --- the server's logic ----------------------------------------------------------------------------


class Session:
    """One client's session: `receive` answers a message, `next_units` gives what streams by itself.

    Units are whole records or Data packets, in the order in which they go out.
    """

    def __init__(self, files, options=None, commands=None):
        self._files, self.options = files, MmstOptions() if options is None else options
        self.segments = []
        self.commands = [] if commands is None else commands
        self.logs = []  # CLIENT_LOG bytes of Logging
        self.closed = False
        self._record_seq = self._sequence = self._sent_media = 0
        self._time = 0
        self._playlist, self._entry, self._name = [], 0, ""
        self._streams = set()
        self._queue = None  # numbers of the packets still to play; None when stopped
        self._incarnation = self._asked = 0
        self._handlers = {
            CONNECT: self._connect,
            CONNECT_FUNNEL: self._connect_funnel,
            FUNNEL_INFO: self._funnel_info,
            OPEN_FILE: self._open_file,
            READ_BLOCK: self._read_block,
            STREAM_SWITCH: self._stream_switch,
            START_PLAYING: self._start_playing,
            STOP_PLAYING: self._stop_playing,
            LOGGING: self._logging,
            CLOSE_FILE: self._close_file,
        }

    @property
    def ended(self):
        """Whether something was played and nothing of it remains."""
        return self._queue is None and any(one.incarnation is not None for one in self.segments)

    @property
    def streaming(self):
        """Whether media remains to be sent."""
        return self._queue is not None

    def receive(self, mid, fields):
        """Answer one message; unknown ones, Pong and CancelReadBlock need no answer."""
        self.commands.append(("c", mid))
        handler = self._handlers.get(mid)
        return handler(fields) if handler else []

    def _record(self, *messages):
        options = self.options
        self.commands += [("s", struct.unpack_from("<I", one, 4)[0]) for one in messages]
        out = record(
            messages,
            self._record_seq,
            padding=options.record_padding,
            chunk_count=options.chunk_count,
            time_sent=self._time,
        )
        self._record_seq += 1
        self._time += 7
        return out

    def _records(self, *messages):
        return [self._record(*messages)] if self.options.combine else [self._record(m) for m in messages]

    def _ping(self):
        return message(PING, struct.pack("<II", 0, 0))

    def _connect(self, fields):
        pair = PACKET_PAIR if fields[:4] == struct.pack("<I", PACKET_PAIR) else NO_PACKET_PAIR
        strings = self._strings()
        head = struct.pack("<IIII", 0, pair, 0x0004000B, 0x0003001C)
        head += struct.pack("<dIIII", 1.0, 1, 1, 0x8000, 10_000_000)
        head += struct.pack("<IIII", *(len(s) + 1 if s else 0 for s in strings))
        return [self._record(message(REPORT_CONNECTED_EX, head + b"".join(text(s) for s in strings if s)))]

    def _strings(self):
        """ServerVersionInfo, VersionInfo, VersionUrl, AuthenPackage."""
        return self.options.version, "", "", ""

    def _funnel_info(self, fields):
        pair = fields[:4] == struct.pack("<I", PACKET_PAIR_ENTROPY)
        asked = PACKET_PAIR_ENTROPY if pair else NO_PACKET_PAIR
        head = struct.pack("<11I", 0, asked, 8, 1, 0x10000, 0x2A, 0, 1, 0, 0, 0)[:44]
        if not pair:
            return [self._record(message(REPORT_FUNNEL_INFO, head))]
        noise = random.Random(1755)  # records of 512, 512 and 1056 bytes [3.2.5.4]
        return [
            self._record(message(REPORT_FUNNEL_INFO, head[:40] + noise.randbytes(total - 32 - 8 - 40)))
            for total in (512, 512, 1056)
        ]

    def _connect_funnel(self, _fields):
        body = struct.pack("<III", 0, 0xF0F0F0F0, 0x00000B00) + text("Funnel Of The Gods")
        return [self._record(message(REPORT_CONNECTED_FUNNEL, body))]

    def _open_file(self, fields):
        (incarnation,) = struct.unpack_from("<I", fields, 0)
        name = fields[16:].decode("utf-16-le", "replace").split("\0")[0].lstrip("/")
        entry = self._files.get(name)
        if entry is None:
            body = struct.pack("<III", FILE_NOT_FOUND, incarnation, 0).ljust(108, b"\0")
            return [self._record(message(REPORT_OPEN_FILE, body))]
        self._name, self._playlist, self._entry = name, as_playlist(entry), 0
        self._streams, self._queue = set(), None
        asf = self._file
        attributes, duration, packets = self._content()
        body = struct.pack("<IIIIIIdI", 0, incarnation, 1, 0, 0, attributes, duration, -int(-duration))
        body += bytes(16) + struct.pack("<IQII", asf.packet_size, packets, asf.bit_rate, len(asf.header))
        return [self._record(message(REPORT_OPEN_FILE, body + bytes(36)))]

    def _content(self):
        """fileAttributes, fileDuration, filePacketCount."""
        attributes = CAN_SEEK | CAN_STRIDE | (PLAYLIST if len(self._playlist) > 1 else 0)
        return attributes, self._file.duration, len(self._file.packets)

    @property
    def _file(self):
        return self._playlist[self._entry]

    def _new_segment(self):
        self.segments.append(Segment(self._file.header, self._file.packet_size, name=self._name))

    def _header_data(self, incarnation):
        header, size = self._file.header, self.options.header_fragment or self._file.packet_size
        parts = [header[at : at + size] for at in range(0, len(header), size)]
        return [
            data_packet(i, incarnation, AF_LAST if i == len(parts) - 1 else AF_MORE, part)
            for i, part in enumerate(parts)
        ]

    def _read_block(self, fields):
        (incarnation,) = struct.unpack_from("<I", fields, 40)
        if not self._playlist:
            return []
        self._new_segment()
        report = message(REPORT_READ_BLOCK, struct.pack("<III", 0, incarnation, 0))
        answer = self._records(report, self._ping()) if self.options.combine else self._records(report)
        return answer + self._header_data(incarnation & 0xFF)

    def _stream_switch(self, fields):
        (count,) = struct.unpack_from("<I", fields, 0)
        for i in range(min(count, (len(fields) - 4) // 6)):
            source, target, thinning = struct.unpack_from("<HHH", fields, 4 + 6 * i)
            if target == 0xFFFF:
                self._streams.discard(source)
            elif thinning == 2:
                self._streams.discard(target)
            else:
                self._streams.add(target)
        return [self._record(message(REPORT_STREAM_SWITCH, struct.pack("<I", 0)))]

    def _first_packet(self, position, asf_offset, location):
        if location not in UNUSED:
            return location
        if asf_offset not in UNUSED:
            return max(0, asf_offset - len(self._file.header)) // self._file.packet_size
        if position != DBL_MAX:
            return self._file.packet_at(struct.unpack("<d", position)[0])
        return 0

    def _start_playing(self, fields):
        (incarnation,) = struct.unpack_from("<I", fields, 28)
        if not self._start(fields):
            return []
        report = message(REPORT_STARTED, struct.pack("<IIII", 0, incarnation, 1, 0) + bytes(12))
        return self._records(report, self._ping()) if self.options.combine else self._records(report)

    def _start(self, fields):
        """Do what StartPlaying asks for; returns whether there is anything to play."""
        position = fields[8:16]
        asf_offset, location, _frame_offset, incarnation = struct.unpack_from("<IIII", fields, 16)
        self._asked, self._incarnation = incarnation, incarnation & 0xFF
        if not self._playlist:
            return False
        if self._queue is None:  # the position is ignored while streaming [3.2.5.11]
            first = self._first_packet(position, asf_offset, location)
            # without a StreamSwitch before, no stream at all is sent
            self._queue = list(range(first, len(self._file.packets))) if self._streams else []
        if not self.segments or self.segments[-1].incarnation is not None:
            self._new_segment()
        self.segments[-1].incarnation = self._incarnation
        if self._sequence % 256 == 0xFF:  # after 0xFE a Start message skips 0xFF [2.2.2]
            self._sequence += 1
        return True

    def _stop_playing(self, _fields):
        was_streaming, self._queue = self._queue is not None, None
        return [self._record(self._end(0))] if was_streaming else []

    def _end(self, hr):
        return message(REPORT_END_OF_STREAM, struct.pack("<II", hr, self._asked))

    def _logging(self, fields):
        self.logs.append(fields[:1490])
        return []

    def _close_file(self, _fields):
        self.closed, self._queue = True, None
        return []

    def next_units(self):
        """The next media packet, or the end of the stream, or the change to the next entry."""
        if self._queue is None:
            return []
        while self._queue:
            number = self._queue.pop(0)
            # a later entry of a playlist goes out whole: nobody could choose of it before it began
            streams = None if self._entry else self._streams
            payload = self._file.sent(number, self.options.padding, streams)
            if payload is None:  # nothing selected in it: a hole in the LocationIds that is no loss
                continue
            units = [self._record(self._ping())] if self._sent_media == self.options.ping_at else []
            units.append(data_packet(number, self._incarnation, self._sequence % 256, payload))
            self._sequence += 1
            self._sent_media += 1
            self.segments[-1].packets.append((number, payload))
            return units
        if self._entry + 1 == len(self._playlist) or not self._streams:
            self._queue = None
            return [self._record(self._end(0))]
        return self._next_entry()

    def _announce_entry(self):
        self._entry += 1
        asf = self._file
        change = struct.pack(
            "<6I", 0, STREAM_CHANGE_INCARNATION, asf.packet_size, len(asf.header), asf.bit_rate, 0
        )
        return self._records(self._end(1), message(REPORT_STREAM_CHANGE, change))

    def _next_entry(self):
        """EndOfStream hr 1 and StreamChange; header and media follow unasked, incarnation 0xFF [3.2.4.2]."""
        units = self._announce_entry()
        asf = self._file
        self._new_segment()
        self._incarnation = self.segments[-1].incarnation = STREAM_CHANGE_INCARNATION
        self._queue = list(range(len(asf.packets)))
        return units + self._header_data(STREAM_CHANGE_INCARNATION)


# --- behind a port ---------------------------------------------------------------------------------


class MmstServer:
    """Serve `files` (name → path, AsfFile, or list of those for a playlist) at 127.0.0.1:`port`.

    The server hangs up after `idle` seconds without a message once the stream has ended: FFmpeg reads on
    behind EndOfStream until somebody does, and the specification's idle time-out is an hour.
    """

    def __init__(self, files, options=None, *, idle=0.3):
        self._idle = idle
        self._files = {name: as_playlist(entry) for name, entry in files.items()}
        self._options = MmstOptions() if options is None else options
        self.sessions, self.commands = [], []
        self._server = TcpServer(self._serve)
        self.port, self.errors = self._server.port, self._server.errors

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def sent(self):
        """Segments of all sessions."""
        return [segment for session in self.sessions for segment in session.segments]

    def wait(self, timeout=5.0):
        """Wait until the sessions begun so far have ended."""
        self._server.wait(timeout)

    def close(self):
        """Stop serving."""
        self._server.close()

    def _serve(self, connection):
        session = Session(self._files, self._options, self.commands)
        self.sessions.append(session)
        buffer = b""
        while not session.closed:
            if session.ended and not select.select([connection], [], [], self._idle)[0]:
                return
            if not session.streaming or select.select([connection], [], [], 0)[0]:
                data = connection.recv(65536)
                if not data:
                    return
                buffer += data
                body, buffer = take_record(buffer)
                while body is not None:
                    for mid, fields in messages_of(body):
                        for unit in session.receive(mid, fields):
                            connection.sendall(unit)
                    body, buffer = take_record(buffer)
            for unit in session.next_units():
                connection.sendall(unit)


def take_record(buffer):
    """(body, rest) of the first whole record in `buffer`; body is None if there is none."""
    if len(buffer) < 32:
        return None, buffer
    session_id, length, seal = struct.unpack_from("<III", buffer, 4)
    if (session_id, seal) != (SESSION_ID, SEAL) or not 16 <= length <= 65536:
        raise ConnectionError("not a TcpMessageHeader")
    if len(buffer) < 16 + length:
        return None, buffer
    return buffer[32 : 16 + length], buffer[16 + length :]


# --- a client of the specification -----------------------------------------------------------------

GUID = "{3300AD50-2C39-46C0-AE0A-70B64F321A80}"


def logging_body(url, *, packets=0, received=0, address=0xFFFFFFFF, guid=GUID):
    """CLIENT_LOG of 1490 bytes [2.2.1]."""

    def fixed(value, size):
        return value.encode("latin-1", "replace")[: size - 1].ljust(size, b"\0")

    version = 0x0009000000000BA4  # 9.0.0.2980
    info = struct.pack("<I", 1142) + fixed(url, 260) + fixed("-", 260) + fixed("-", 64) + fixed("-", 260)
    info += struct.pack("<Q", version) + fixed("en-US", 16) + fixed(guid, 40) + fixed("wmplayer.exe", 32)
    info += struct.pack("<QIQI", version, 2000, received, 364000)
    info += fixed("Windows Media Audio 2", 64) + fixed("Windows Media Video 8", 64)
    info += struct.pack("<IIhIIQIIIII", 0, 2000, 1, 1, 500, received, packets, 0, 0, 100, 0)
    log = struct.pack("<I", 1490) + info + struct.pack("<II", 1, address) + fixed("-", 260)
    log += fixed("Windows_XP", 16) + struct.pack("<Q", 0x0005000100000A28) + fixed("Pentium", 16)
    log += fixed("mms", 8) + fixed("TCP", 8) + struct.pack("<IIIII", 0, 0, 0, 0, 0)
    return log


class Client:
    """NSPlayer 9 as a script: sends messages to a session and keeps both sides' units."""

    def __init__(self, session, *, host, guid, packet_pair, record_padding, chunk_count):
        self.session, self.conversation = session, []
        self._host, self._guid, self._packet_pair = host, guid, packet_pair
        self._style = {"padding": record_padding, "chunk_count": chunk_count}
        self._seq = 0

    def send(self, mid, fields):
        """Send one message; what the server answers at once is kept."""
        whole = message(mid, fields)
        self.conversation.append(("c", record([whole], self._seq, **self._style)))
        self._seq += 1
        answer = self.session.receive(mid, whole[8:])
        self._take(answer)
        return answer

    def _take(self, units):
        for unit in units:
            self.conversation.append(("s", unit))
        for unit in units:
            if unit[4:8] == struct.pack("<I", SESSION_ID):
                for mid, _ in messages_of(unit[32:]):
                    if mid == PING:
                        self.send(PONG, struct.pack("<II", 0, 0))

    def open(self, name, address="192.0.2.20"):
        """Connect and open a file; returns whether it was there."""
        pair = PACKET_PAIR if self._packet_pair else NO_PACKET_PAIR
        subscriber = text(f"NSPlayer/9.0.0.2980; {self._guid}; Host: {self._host}")
        self.send(
            CONNECT,
            struct.pack("<III", pair, 0x0004000B, 0x0003001C) + subscriber + text(f"HOST: {self._host}"),
        )
        self.send(
            FUNNEL_INFO, struct.pack("<I", PACKET_PAIR_ENTROPY if self._packet_pair else NO_PACKET_PAIR)
        )
        funnel = struct.pack("<IIIII", 0, 0xFFFFFFFF, 0, 10_000_000, 2)
        self.send(CONNECT_FUNNEL, funnel + text(rf"\\{address}\TCP\1037"))
        return self.open_file(name)

    def open_file(self, name):
        """Open a file; returns whether it was there."""
        answer = self.send(OPEN_FILE, struct.pack("<IIII", 9, 0, 0, 0) + text(name))
        return answer[0][40:44] == bytes(4)

    def read_header(self):
        """Ask for the header with header incarnation 1."""
        fields = struct.pack("<IIIIII", 1, 0, 0, 0x8000, 0xFFFFFFFF, 0)
        self.send(READ_BLOCK, fields + struct.pack("<ddII", 0.0, 3600.0, 1, 0))

    def switch(self, streams):
        """Select whole streams."""
        entries = b"".join(struct.pack("<HHH", 0xFFFF, stream, 0) for stream in streams)
        self.send(STREAM_SWITCH, struct.pack("<I", len(streams)) + entries)

    def start(self, incarnation, location=0xFFFFFFFF):
        """Play from a packet number, with the optional fields of WMF 9."""
        fields = struct.pack("<II", 1, 0) + DBL_MAX + struct.pack("<II", 0xFFFFFFFF, location)
        fields += struct.pack("<II", 0x00FFFFFF, incarnation)
        self.send(START_PLAYING, fields + struct.pack("<III", 1_000_000, 5000, 2_000_000))

    def play(self, packets=None):
        """Take what streams, to its end or until `packets` more media packets have come."""
        begun = media_count(self.session)
        while self.session.streaming and (packets is None or media_count(self.session) - begun < packets):
            self._take(self.session.next_units())


def media_count(session):
    """Number of media packets sent so far."""
    return sum(len(segment.packets) for segment in session.segments)


def transcript(
    files,
    options=None,
    *,
    name=None,
    seek=None,
    late=0,
    host="media.example.com",
    guid=GUID,
    streams=None,
    packet_pair=False,
    log=True,
    close=True,
    record_padding=0,
    chunk_count="client",
    commands=None,
):
    """A whole session as (conversation, segments), without sockets.

    `files` as for `MmstServer`; `name` is the file asked for (default: the first one; one that is not served
    gives a session of a failed OpenFile). `seek=(after, location)` stops after that many media packets and
    plays on from packet `location` with the next incarnation: a segment of its own; the last `late` units
    before the stop are on their way when the client asks for it. `streams` are those selected: other payloads
    are cut out, and packets left empty not sent. `record_padding` and
    `chunk_count` are the client's style of framing. `commands` is a list to get (direction, MID) pairs.
    """
    name = next(iter(files)) if name is None else name
    session = Session(files, options, commands)
    client = Client(
        session,
        host=host,
        guid=guid,
        packet_pair=packet_pair,
        record_padding=record_padding,
        chunk_count=chunk_count,
    )
    if client.open(name):
        client.read_header()
        client.switch(as_playlist(files[name])[0].streams if streams is None else streams)
        incarnation = 10
        client.start(incarnation)
        if seek is not None:
            after, location = seek
            client.play(after)
            asked = len(client.conversation)
            client.send(STOP_PLAYING, struct.pack("<II", 1, incarnation))
            client.conversation.insert(asked - late, client.conversation.pop(asked))
            incarnation += 1
            client.start(incarnation, location)
        client.play()
        if log:
            packets = media_count(session)
            received = sum(len(p) for segment in session.segments for _, p in segment.packets)
            url = f"mms://{host}/{name}"
            client.send(LOGGING, logging_body(url, packets=packets, received=received, guid=guid))
    if close:
        client.send(CLOSE_FILE, struct.pack("<II", 0, 1))
    return client.conversation, session.segments
