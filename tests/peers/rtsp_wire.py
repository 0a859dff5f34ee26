"""RTSP, SDP, RTP and RTCP as a Windows Media server writes them [MS-RTSP, RFC 2326, RFC 3550, RFC 4585].

Written from the specifications only, so that it can judge the package under test.
"""

import base64
import itertools
import struct
from dataclasses import dataclass

from builders import udp_frame, write_pcap

from .asf_file import send_time
from .recorder import START, frames_of

ASF_PT, RTX_PT, FEC_PT = 96, 97, 98
CNAME = "%d@WMS:7ff42e07-3c7c-4eb5-9c17-6bdd11ad90de"


# --- text ------------------------------------------------------------------------------------------


def message(first_line, headers=(), body=b""):
    """A request or response; Content-Length is added where there is a body."""
    lines = [first_line, *(f"{name}: {value}" for name, value in headers)]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def request(method, url, cseq, *headers, body=b""):
    """A request [RFC 2326 6]."""
    return message(f"{method} {url} RTSP/1.0", [("CSeq", cseq), *headers], body)


def response(cseq, *headers, status=200, reason="OK", body=b""):
    """A response [RFC 2326 7]."""
    named = [("CSeq", cseq), ("Server", "WMServer/9.1.1.3814"), *headers]
    return message(f"RTSP/1.0 {status} {reason}", named, body)


def sdp(asf, *, live=False, rtx=True, kind="", streams=("audio", "video")):
    """The session description of a content [MS-RTSP 2.2.5]."""
    header = base64.b64encode(asf.header).decode()
    lines = [
        "v=0",
        "o=- 200503011024370328 200503011024370328 IN IP4 127.0.0.1",
        "s=film",
        "c=IN IP4 0.0.0.0",
        "b=AS:364",
        f"a=maxps:{asf.packet_size}",
        "t=0 0",
        "a=control:*",
        "a=etag:{371DA1F4-D0A8-1D2B-FE80-0A65C1D3BB5F}",
        f"a=range:npt=0.000-{asf.duration:.3f}",
        f"a=type:{kind or ('broadcast' if live else 'notstridable')}",
        "a=recvonly",
        f"a=pgmpu:data:application/vnd.ms.wms-hdr.asfv1;base64,{header}",
    ]
    for number, name in enumerate(streams, start=1):
        lines += [f"m={name} 0 RTP/AVP {ASF_PT}", "b=AS:64", "b=RS:0", "b=RR:0"]
        lines += [f"a=rtpmap:{ASF_PT} x-asf-pf/1000", f"a=control:{name}", f"a=stream:{number}"]
    if rtx:
        lines += [f"m=application 0 RTP/AVP {RTX_PT}", "b=RS:0", "b=RR:0"]
        lines += [f"a=rtpmap:{RTX_PT} x-wms-rtx/1000", "a=control:rtx", "a=stream:65536"]
    return ("\r\n".join(lines) + "\r\n").encode()


def interleaved(channel, packet):
    """An interleaved packet [RFC 2326 10.12]."""
    return struct.pack(">cBH", b"$", channel, len(packet)) + packet


# --- RTP -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Payloading:
    """How ASF packets go into RTP packets [MS-RTSP 2.2.1.3]."""

    size: int = 1400  # bytes of an RTP payload at most
    several: bool = False  # as many whole ASF packets in one RTP packet as fit
    length: str = "spec"  # what Length counts: "spec" the ASF packet, "counted" its header too
    locid: bool = False
    relative: bool = False
    duration: bool = False


def payload_header(how, *, complete, number, location, relative=0, key=False):
    """The header in front of an ASF packet or a fragment of one."""
    flags = 0x80 * key | 0x40 * complete | 0x20 * how.relative | 0x10 * how.duration | 0x08 * how.locid
    fields = b""
    if how.relative:
        fields += struct.pack(">i", relative)
    if how.duration:
        fields += struct.pack(">I", 100)
    if how.locid:
        fields += struct.pack(">I", location)
    if complete and how.length == "counted":
        number += 4 + len(fields)
    return bytes([flags]) + number.to_bytes(3, "big") + fields


def rtp(sequence, timestamp, ssrc, payload, *, marker=False, pt=ASF_PT):
    """An RTP packet [RFC 3550 5.1]."""
    return struct.pack(">BBHII", 0x80, marker << 7 | pt, sequence % 65536, timestamp, ssrc) + payload


def payloads(packets, how):
    """RTP payloads as (send time, marker, bytes) of (LocationId, ASF packet) pairs."""
    head = 4 * (1 + how.relative + how.duration + how.locid)
    waiting, begun = b"", 0
    for location, packet in packets:
        time = send_time(packet)
        if waiting and (not how.several or len(waiting) + head + len(packet) > how.size):
            yield begun, True, waiting
            waiting = b""
        if head + len(packet) <= how.size:
            begun = begun if waiting else time
            delta = time - begun
            waiting += payload_header(
                how, complete=True, number=len(packet), location=location, relative=delta
            )
            waiting += packet
            continue
        for at in range(0, len(packet), how.size - head):
            part = packet[at : at + how.size - head]
            header = payload_header(how, complete=False, number=at, location=location)
            yield time, at + len(part) == len(packet), header + part
    if waiting:
        yield begun, True, waiting


def rtp_stream(packets, how=None, *, sequence=0, ssrc=0x927717DE):
    """RTP packets of (LocationId, ASF packet) pairs."""
    found = payloads(packets, how or Payloading())
    return [
        rtp(sequence + i, time, ssrc, payload, marker=marker)
        for i, (time, marker, payload) in enumerate(found)
    ]


# --- RTCP ------------------------------------------------------------------------------------------


def rtcp(kind, count, body):
    """One RTCP packet [RFC 3550 6.4]; `body` in words of four bytes."""
    return struct.pack(">BBH", 0x80 | count, kind, len(body) // 4) + body


def sender_report(ssrc, packets, octets):
    """A sender report without report blocks [RFC 3550 6.4.1]."""
    return rtcp(200, 0, struct.pack(">IIIIII", ssrc, 3_900_000_000, 0, 0, packets, octets))


def bye(ssrc):
    """The end of a source [RFC 3550 6.6]."""
    return rtcp(203, 1, struct.pack(">I", ssrc))


def nack(sender, source, first, mask=0):
    """A request to send packets again, behind the CNAME that goes with it [MS-RTSP 2.2.4]."""
    cname = (CNAME % sender).encode()
    chunk = struct.pack(">IBB", sender, 1, len(cname)) + cname + b"\0"
    chunk += b"\0" * (-len(chunk) % 4)
    report = rtcp(201, 0, struct.pack(">I", sender))
    return report + rtcp(202, 1, chunk) + rtcp(205, 1, struct.pack(">IIHH", sender, source, first, mask))


# --- whole sessions --------------------------------------------------------------------------------

CLIENT, SERVER = "192.0.2.20", "192.0.2.10"
URL = f"rtsp://{SERVER}/film.wmv"
AGENT = ("User-Agent", "WMPlayer/9.0.0.2833 guid/B64345F5-8E6B-4D1E-8C59-4F8C2B9F9F7A")
SUPPORTED = ("Supported", "com.microsoft.wm.srvppair, com.microsoft.wm.sswitch, com.microsoft.wm.eosmsg")
SESSION = ("Session", "17268174590018475267;timeout=60")


def end_of_stream(cseq, sequence, *, url=URL, body=b"EOF: true\r\n"):
    """The server's word that a content has ended [MS-RTSP 2.2.7.3]."""
    return request(
        "SET_PARAMETER",
        url,
        cseq,
        SESSION,
        ("X-Notice", '2101 "End-of-Stream Reached"'),
        ("RTP-Info", f"url={url}/video;seq={sequence % 65536}"),
        ("Content-Type", "application/x-wms-extension-cmd"),
        body=body,
    )


def opening(description, *, transport="RTP/AVP/TCP;unicast;interleaved=0-1", answer="", sequence=0, url=URL):
    """DESCRIBE, SETUP and PLAY with their answers, as items of a conversation."""
    answer = answer or f"{transport};ssrc=927717de;mode=PLAY"
    play = [("Range", "npt=0.000-"), ("RTP-Info", f"url={url}/video;seq={sequence % 65536};rtptime=0")]
    return [
        ("c", request("DESCRIBE", url, 1, AGENT, SUPPORTED, ("Accept", "application/sdp"))),
        ("s", response(1, ("Content-Type", "application/sdp"), body=description)),
        ("c", request("SETUP", f"{url}/video", 2, AGENT, ("Transport", transport))),
        ("s", response(2, SESSION, ("Transport", answer))),
        ("c", request("PLAY", url, 3, AGENT, SESSION, ("Range", "npt=0.000-"))),
        ("s", response(3, SESSION, *play)),
    ]


def closing(cseq, *, url=URL):
    """TEARDOWN with its answer."""
    return [("c", request("TEARDOWN", url, cseq, AGENT, SESSION)), ("s", response(cseq, SESSION))]


def tcp_session(description, stream, *, sequence=0, url=URL, between=()):
    """The conversation of a session with interleaved media: all of `stream`, then its end."""
    items = opening(description, sequence=sequence, url=url)
    items += [("s", interleaved(0, packet)) for packet in stream]
    items += between
    items.append(("s", end_of_stream(101, sequence + len(stream), url=url)))
    items.append(("c", response(101)))
    return items + closing(4, url=url)


@dataclass(slots=True)
class Datagram:
    """A datagram of a session over UDP."""

    ts: int
    payload: bytes
    server_port: int = 5004
    client_port: int = 2462
    from_client: bool = False

    def frame(self, ip_id=0):
        """Its frame."""
        here, there = (CLIENT, self.client_port), (SERVER, self.server_port)
        if not self.from_client:
            here, there = there, here
        return udp_frame(here[0], there[0], here[1], there[1], self.payload, ip_id=ip_id % 65536)


MEDIA_AT = START + 1_000_000_000
SPACING = 1_000_000


def udp_session(
    description, stream, *, sequence=0, skip=(), more=(), ports="2462-2463", url=URL, tcp_port=40001
):
    """Frames of a session over UDP as (frame, ts): control on TCP, `stream` without the datagrams `skip`.

    `more` are further datagrams, at their own times.
    """
    offer = f"RTP/AVP/UDP;unicast;client_port={ports}"
    answer = f"{offer};server_port=5004-5005;ssrc=927717de;mode=PLAY"
    items = opening(description, transport=offer, answer=answer, sequence=sequence, url=url)
    end = MEDIA_AT + len(stream) * SPACING
    items.append(("s", end_of_stream(101, sequence + len(stream), url=url), end + SPACING // 2))
    items.append(("c", response(101)))
    last = [(side, data, end + 2_000_000_000) for side, data in closing(4, url=url)]
    control = frames_of(items + last, client=(CLIENT, tcp_port), server=(SERVER, 554))
    media = {"client_port": int(ports.partition("-")[0])}
    sent = [Datagram(MEDIA_AT + i * SPACING, p, **media) for i, p in enumerate(stream) if i not in set(skip)]
    udp = [(d.frame(i), d.ts) for i, d in enumerate(itertools.chain(sent, more))]
    return sorted(control + udp, key=lambda item: item[1])


def write_frames(path, frames):
    """Write frames to a pcap file; returns its path."""
    return write_pcap(path, frames)
