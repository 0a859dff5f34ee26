"""An encoder that pushes to a Windows Media server over HTTP, written from [MS-WMHTTP] with `struct` code.

`pushed` plays the encoder and the server, and keeps what was sent, which is the ground truth for a recovery.
"""

import struct
from dataclasses import dataclass

from .asf_file import Segment, as_playlist
from .mmsh_server import data_packet, in_chunks

LONGEST = 2147483647  # Content-Length of a PushStart whose end is not known [3.1.4.2.1]


@dataclass(frozen=True, slots=True)
class PushOptions:
    """How the encoder behaves where the specification leaves a choice."""

    padding: str = "zero-field"  # of media packets: 'keep' or 'zero-field'
    length: int = (
        LONGEST  # Content-Length of each PushStart; a small one is filled with $F and followed by another
    )
    one_connection: bool = True  # whether a PushStart follows on the connection of the one before
    setup: bytes = b'Template-URL: "/pub"\r\nAutoDestroy: 1\r\n'
    end: int | None = 0  # Reason of the last $E; None: none is sent
    data_headers: bool = False  # chunked, with Data headers before the payloads: FFmpeg's muxer asf_stream
    agent: str = "WMEncoder/11.0.5721.5145"
    push_id: str = "4124758405"


def packet(kind, payload):
    """A packet of push distribution: nothing stands before the payload [2.2.3]."""
    return b"$" + kind.encode() + struct.pack("<H", len(payload)) + payload


def filler(left):
    """$F packets that fill exactly `left` bytes, at least four [2.2.3.5, 3.1.4.3]."""
    while left:
        size = min(left, 65535)
        size -= 4 if 0 < left - size < 4 else 0  # what is left must hold a framing header
        yield packet("F", bytes(size - 4))
        left -= size


class _Encoder:
    """The state of section 3.1.1."""

    def __init__(self, url_path, options):
        self.path, self.options = url_path, options
        self.conversations = [[]]
        self.left = 0  # Length-Remaining

    def say(self, side, data):
        self.conversations[-1].append((side, data))

    def request(self, content_type, length, cookie, more=()):
        lines = [f"POST {self.path} HTTP/1.1", f"Content-Type: {content_type}"]
        lines += ["X-Accept-Authentication: Negotiate, NTLM, Digest", f"User-Agent: {self.options.agent}"]
        lines += ["Host: MediaServer", *more]
        lines += [f"Content-Length: {length}"] if length is not None else ["Transfer-Encoding: chunked"]
        lines += ["Cache-Control: no-cache", f"Cookie: push-id={cookie}"]
        self.say("c", ("\r\n".join(lines) + "\r\n\r\n").encode())

    def response(self, status="204 No Content", more=()):
        lines = [f"HTTP/1.1 {status}", "Server: Cougar/9.5.5732.6324", "Content-Length: 0", *more]
        lines += ["Pragma: no-cache, timeout=60000", f"Set-Cookie: push-id={self.options.push_id}"]
        lines += ["Supported: com.microsoft.wm.srvppair, com.microsoft.wm.sswitch"]
        self.say("s", ("\r\n".join(lines) + "\r\n\r\n").encode())

    def setup(self):
        self.request("application/x-wms-pushsetup", len(self.options.setup), "0")
        self.say("c", self.options.setup)
        self.response()

    def start(self):
        self.left = self.options.length
        self.request("application/x-wms-pushstart", self.left, self.options.push_id)

    def send(self, unit):
        """Send a packet; fill up the body and begin another where it would not fit [3.1.4.3]."""
        if len(unit) + 4 > self.left and len(unit) != self.left:
            for one in filler(self.left):
                self.say("c", one)
            self.response()
            if not self.options.one_connection:
                self.conversations.append([])
            self.start()
        self.say("c", unit)
        self.left -= len(unit)


def pushed(entries, options=None, *, path="/pubPoint"):
    """Push a file, or several one after the other; returns (conversations, segments)."""
    options = PushOptions() if options is None else options
    if options.data_headers:
        return _with_data_headers(as_playlist(entries)[0], options, path)
    encoder, segments = _Encoder(path, options), []
    encoder.setup()
    encoder.start()
    files = as_playlist(entries)
    for i, asf in enumerate(files):
        encoder.send(packet("C", struct.pack("<I", 0) + asf.header) if i else packet("H", asf.header))
        segments.append(Segment(asf.header, asf.packet_size))
        for number in range(len(asf.packets)):
            payload = asf.sent(number, options.padding)
            segments[-1].packets.append((number, payload))
            encoder.send(packet("D", payload))
        reason = 1 if i + 1 < len(files) else options.end
        if reason is not None:
            encoder.send(packet("E", struct.pack("<I", reason)))
    return encoder.conversations, segments


def _with_data_headers(asf, options, path):
    """What FFmpeg's muxer asf_stream sends when it is told to POST: $H, $D… and $E, in chunks."""
    encoder = _Encoder(path, options)
    encoder.request("application/x-wms-pushstart", None, options.push_id)
    segment = Segment(asf.header, asf.packet_size)
    units = [data_packet("H", 0, 0, 0x0C, asf.header)]
    for number in range(len(asf.packets)):
        segment.packets.append((number, asf.sent(number, "keep")))
        units.append(data_packet("D", number, 0, number % 256, segment.packets[-1][1]))
    units.append(packet("E", struct.pack("<I", 0)))
    for chunk in in_chunks(units, 7, 1400):
        encoder.say("c", chunk)
    encoder.response("200 OK")
    return encoder.conversations, [segment]
