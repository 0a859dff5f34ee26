"""A Windows Media RTSP server [MS-RTSP], written from the specification: media over TCP or UDP."""

import contextlib
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .asf_file import Segment, as_playlist
from .recorder import START
from .rtsp_wire import (
    Datagram,
    Payloading,
    end_of_stream,
    interleaved,
    response,
    rtp_stream,
    sdp,
    sender_report,
)
from .tcp_server import TIMEOUT, TcpServer

SSRC = 0x927717DE


@dataclass(frozen=True, slots=True)
class RtspOptions:
    """How the server behaves."""

    padding: str = "keep"
    payloading: Payloading = field(default_factory=Payloading)
    sequence: int = 65500  # of the first RTP packet: wraps early
    pace: float = 0.0005  # seconds between datagrams
    linger: float = 0.3  # seconds between the last packet and the end: FFmpeg drops what it has not read
    lose: tuple[int, ...] = ()  # RTP packets that are never sent
    streams: tuple[str, ...] = ("audio", "video")


class RtspServer:
    """Serve ASF files by name on 127.0.0.1."""

    def __init__(self, files, options=None):
        self._files = {name: as_playlist(entry)[0] for name, entry in files.items()}
        self._options = options or RtspOptions()
        self._begun = time.monotonic_ns()
        self.requests = []  # (method, URL) in order
        self.sent = []  # a Segment for each play
        self.datagrams = []  # what went over UDP
        self._server = TcpServer(self._handle)
        self.port = self._server.port

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.close()

    @property
    def errors(self):
        """What went wrong in the server's threads."""
        return self._server.errors

    def wait(self, timeout=5.0):
        """Wait until the connections made so far have ended."""
        self._server.wait(timeout)

    def now(self):
        """Time for a datagram in the capture."""
        return START + time.monotonic_ns() - self._begun

    def _handle(self, connection):
        _Connection(self, connection).serve()


class _Connection:
    def __init__(self, server, connection):
        self._server, self._connection = server, connection
        self._options = server._options
        self._lock = threading.Lock()
        self._sockets = []
        self._ports = None
        self._channel = None
        self._playing = None
        self._stop = threading.Event()

    def serve(self):
        """Answer requests until the client goes."""
        data = b""
        try:
            while True:
                part = self._connection.recv(65536)
                if not part:
                    return
                data += part
                while (taken := self._message(data)) > 0:
                    data = data[taken:]
        finally:
            self._stop.set()
            if self._playing is not None:
                self._playing.join(TIMEOUT)
            for one in self._sockets:
                one.close()

    def _message(self, data):
        """Answer the first request of the bytes; returns how many it takes, 0 if it is not whole."""
        if data[:1] == b"$":
            size = 4 + int.from_bytes(data[2:4], "big") if len(data) >= 4 else 0
            return size if len(data) >= size else 0
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return 0
        first, *lines = data[:end].decode().split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        size = end + 4 + int(headers.get("content-length", 0))
        if len(data) < size:
            return 0
        if not first.startswith("RTSP/"):
            method, url, _ = first.split(" ", 2)
            self._server.requests.append((method, url))
            self._answer(method, url, headers)
        return size

    def _send(self, data):
        with self._lock:
            self._connection.sendall(data)

    def _answer(self, method, url, headers):
        cseq = headers["cseq"]
        name = urlsplit(url).path.lstrip("/").split("/")[0]
        session = ("Session", "17268174590018475267;timeout=60")
        if name not in self._server._files and method != "OPTIONS":
            self._send(response(cseq, status=404, reason="Not Found"))
        elif method == "OPTIONS":
            self._send(response(cseq, ("Public", "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN")))
        elif method == "DESCRIBE":
            asf = self._server._files[name]
            description = sdp(asf, streams=self._options.streams)
            base = ("Content-Base", url + "/")
            self._send(response(cseq, ("Content-Type", "application/sdp"), base, body=description))
        elif method == "SETUP":
            agreed = self._set_up(url, headers["transport"])
            self._send(response(cseq, session, ("Transport", agreed)))
        elif method == "PLAY":
            info = f"url={url};seq={self._options.sequence};rtptime=0"
            self._send(response(cseq, session, ("Range", "npt=0.000-"), ("RTP-Info", info)))
            self._playing = threading.Thread(target=self._play, args=(name, url), daemon=True)
            self._playing.start()
        else:
            self._send(response(cseq, session))

    def _set_up(self, url, offered):
        for offer in offered.split(","):
            channels = re.search(r"interleaved=(\d+)-\d+", offer)
            if "TCP" in offer and channels:
                if self._channel is None and not url.endswith("/rtx"):
                    self._channel = int(channels[1])
                return f"{offer};ssrc={SSRC:08x};mode=PLAY"
            ports = re.search(r"client_port=(\d+)(?:-(\d+))?", offer)
            if ports:
                if url.endswith("/rtx"):
                    return f"{offer};server_port=5004-5005;ssrc=12345678;mode=PLAY"
                self._ports = (int(ports[1]), int(ports[2] or int(ports[1]) + 1))
                return f"{offer};server_port=5004-5005;ssrc={SSRC:08x};mode=PLAY"
        raise ValueError(f"no transport offered: {offered}")

    def _play(self, name, url):
        options, asf = self._options, self._server._files[name]
        segment = Segment(asf.header, asf.packet_size, name=name)
        packets = [(i, asf.sent(i, options.padding)) for i in range(len(asf.packets))]
        self._server.sent.append(segment)
        segment.packets.extend(packets)
        stream = rtp_stream(packets, options.payloading, sequence=options.sequence, ssrc=SSRC)
        with contextlib.suppress(OSError):
            self._send_media(stream)
            time.sleep(options.linger)
            self._send(end_of_stream(1, options.sequence + len(stream), url=url))

    def _send_media(self, stream):
        options = self._options
        if self._channel is not None:
            for packet in stream:
                self._send(interleaved(self._channel, packet))
            return
        out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sockets.append(out)
        for i, packet in enumerate(stream):
            if self._stop.is_set():
                return
            if i not in options.lose:
                self._datagram(out, packet, 0)
            time.sleep(options.pace)
        total = sum(map(len, stream))
        self._datagram(out, sender_report(SSRC, len(stream), total), 1)

    def _datagram(self, out, payload, which):
        port = self._ports[which]
        self._server.datagrams.append(Datagram(self._server.now(), payload, 5004 + which, port))
        out.sendto(payload, ("127.0.0.1", port))
