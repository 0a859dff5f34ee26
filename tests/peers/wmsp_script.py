"""Conversations of MS-WMSP written line by line, for what the test server does not do by itself.

`Talk` is one connection as the list of (side, bytes) that `recorder` makes frames of.
"""

import struct

from .mmsh_server import data_packet, framed, in_parts

AGENT = "NSPlayer/12.0.7680.0"
GUID = "{BFE16E37-55EC-4AE4-A5A9-0B0D307F4B72}"
SERVER = "Cougar/9.5.6001.18281"
FRAMED = "application/x-mms-framed"
UNUSED = "no-cache,rate=1.000,stream-time=0,stream-offset=4294967295:4294967295,packet-num=4294967295"


class Talk(list):
    """One connection; requests and responses are appended as they are said."""

    def ask(self, method, target, *pragmas, headers=(), body=b"", version="1.1", agent=AGENT, guid=GUID):
        """A request; each of `pragmas` is a Pragma header."""
        lines = [f"{method} {target} HTTP/{version}", "Accept: */*", f"User-Agent: {agent}"]
        lines += ["Host: SampleServer", *headers] + [f"Pragma: {one}" for one in pragmas]
        lines += [f"Pragma: xClientGUID={guid}"] if guid else []
        lines += [f"Content-Length: {len(body)}"] if method == "POST" else []
        self.append(("c", ("\r\n".join(lines) + "\r\n\r\n").encode() + body))
        return self

    def play(self, target, *pragmas, streams="ffff:1:0 ffff:2:0", **options):
        """A Play request [2.2.2.6]."""
        count = f"stream-switch-count={len(streams.split())}"
        return self.ask(
            "GET", target, *pragmas, "xPlayStrm=1", count, f"stream-switch-entry={streams}", **options
        )

    def head(self, status, *headers, version="1.1"):
        """A response's head."""
        lines = [f"HTTP/{version} {status}", f"Server: {SERVER}", *headers]
        self.append(("s", ("\r\n".join(lines) + "\r\n\r\n").encode()))
        return self

    def answer(self, status="200 OK", *headers, body=b"", version="1.1"):
        """A response whose length is stated."""
        self.head(status, *headers, f"Content-Length: {len(body)}", version=version)
        if body:
            self.append(("s", body))
        return self

    def send(self, *units):
        """Bytes of the server's, as they are."""
        self.extend(("s", unit) for unit in units)
        return self

    def chunks(self, *units):
        """Bytes of the server's, each unit an HTTP chunk."""
        return self.send(*(b"%x\r\n%b\r\n" % (len(unit), unit) for unit in units))

    def last_chunk(self):
        """The end of a chunked body."""
        return self.send(b"0\r\n\r\n")


def header(asf):
    """$H packets of a file's header."""
    return b"".join(in_parts("H", asf.header, 60000))


def end(reason=0):
    """$E."""
    return framed("E", struct.pack("<I", reason))


def change(reason=0):
    """$C."""
    return framed("C", struct.pack("<I", reason))


class Sender:
    """Counts the $D packets of a session, and keeps what was sent: (LocationId, payload)."""

    def __init__(self, asf, sequence=0):
        self.asf, self.sequence, self.sent = asf, sequence, []

    def packets(self, first, last, streams=None):
        """$D packets of the numbers from `first` up to `last`."""
        units = []
        for number in range(first, min(last, len(self.asf.packets))):
            payload = self.asf.sent(number, "zero-field", streams)
            if payload is None:
                continue
            self.sent.append((number, payload))
            units.append(data_packet("D", number, 0, self.sequence % 256, payload))
            self.sequence += 1
        return units

    def faithful(self):
        """The file that a faithful recovery gives."""
        size = self.asf.packet_size
        return self.asf.header + b"".join(payload.ljust(size, b"\0") for _, payload in self.sent)
