"""Captures for the benchmarks, made from a fixed seed and the sample captures.

Run as a program it writes one of them: ``python benchmarks/captures.py ordinary OUT.pcap --gigabytes 1``.
"""

from __future__ import annotations

import argparse
import random
import struct
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import BinaryIO

SAMPLES = Path(__file__).parents[1] / "sample_data"
SAMPLE = SAMPLES / "mmst_ffmpeg_video.pcap"
AUDIO = SAMPLES / "mmst_mplayer_audio_unicode.pcap"
GIGABYTE = 1_000_000_000
MSS = 1448
SERVER, CLIENT = bytes([192, 0, 2, 10]), bytes([192, 0, 2, 20])


def frames_of(path: Path) -> Iterator[bytes]:
    """Frames of a little-endian pcap file."""
    raw = path.read_bytes()
    at = 24
    while at < len(raw):
        size = struct.unpack_from("<I", raw, at + 8)[0]
        yield raw[at + 16 : at + 16 + size]
        at += 16 + size


def record(ts: int, frame: bytes) -> bytes:
    """A pcap record; `ts` in microseconds."""
    return struct.pack("<IIII", ts // 1_000_000, ts % 1_000_000, len(frame), len(frame)) + frame


def tcp(src: bytes, dst: bytes, sport: int, dport: int, seq: int, ack: int, flags: int, data: bytes) -> bytes:
    """Ethernet, IPv4 and TCP; checksums are left out, which no reader here needs."""
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40 + len(data), 0, 0x4000, 64, 6, 0, src, dst)
    head = struct.pack(
        ">HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, 0x50, flags, 65535, 0, 0
    )
    return b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0" + ip + head + data


def udp(src: bytes, dst: bytes, sport: int, dport: int, data: bytes) -> bytes:
    """Ethernet, IPv4 and UDP."""
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 28 + len(data), 0, 0x4000, 64, 17, 0, src, dst)
    head = struct.pack(">HHHH", sport, dport, 8 + len(data), 0)
    return b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0" + ip + head + data


def ordinary(out: Path, size: int, *, payload: int | None = None) -> None:
    """TLS, HTTP, DNS and QUIC of many hosts, about 1000 bytes a packet, around one MMS session."""
    rng = random.Random(1755)
    noise = rng.randbytes(1 << 20)
    media = list(frames_of(SAMPLE))
    ts = 1_700_000_000_000_000
    next_media = size // (len(media) + 1)
    with out.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        written, taken = 24, 0
        while written < size:
            host, peer = bytes([10, *rng.randbytes(3)]), bytes([198, 18, *rng.randbytes(2)])
            for frame in conversation(rng, noise, host, peer, payload):
                ts += 9
                written += file.write(record(ts, frame))
                if taken < len(media) and written > (taken + 1) * next_media:
                    written += file.write(record(ts, media[taken]))
                    taken += 1
        for frame in media[taken:]:
            file.write(record(ts, frame))


def conversation(
    rng: random.Random, noise: bytes, host: bytes, peer: bytes, payload: int | None
) -> Iterator[bytes]:
    """One flow of ordinary traffic."""
    port = rng.randrange(32768, 61000)

    def piece(n: int) -> bytes:
        at = rng.randrange(len(noise) - 1500)
        return noise[at : at + (min(n, payload) if payload else n)]

    kind = rng.random()
    if kind < 0.2:
        name = piece(rng.randrange(20, 60))
        yield udp(host, peer, port, 53, name)
        yield udp(peer, host, 53, port, name + piece(80))
        return
    if kind < 0.35:
        for _ in range(rng.randrange(5, 120)):
            yield udp(peer, host, 443, port, piece(1250))
        return
    web = kind < 0.55
    service = 80 if web else 443
    a, b = rng.getrandbits(32), rng.getrandbits(32)
    yield tcp(host, peer, port, service, a, 0, 2, b"")
    yield tcp(peer, host, service, port, b, a + 1, 18, b"")
    a, b = a + 1, b + 1
    yield tcp(host, peer, port, service, a, b, 16, b"")
    count = rng.randrange(2, 200)
    if web:
        request = (
            b"GET /images/photo-%d.jpg HTTP/1.1\r\nHost: example.net\r\nUser-Agent: Mozilla/5.0\r\n\r\n"
            % count
        )
        answer = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
        answer = answer % (count * 1400)
    else:
        request, answer = b"\x16\x03\x01\x02\x00\x01" + piece(500), b"\x16\x03\x03\x00\x7a\x02" + piece(1200)
    for direction, data in ((0, request), (1, answer)):
        if direction == 0:
            yield tcp(host, peer, port, service, a, b, 24, data)
            a += len(data)
        else:
            yield tcp(peer, host, service, port, b, a, 24, data)
            b += len(data)
    for i in range(count):
        data = piece(1400)
        yield tcp(peer, host, service, port, b, a, 16, data)
        b += len(data)
        if i % 2:
            yield tcp(host, peer, port, service, a, b, 16, b"")
    yield tcp(host, peer, port, service, a, b, 17, b"")
    yield tcp(peer, host, service, port, b, a + 1, 17, b"")


def streams_of(path: Path) -> tuple[bytes, bytes]:
    """Bytes that client and server sent in a clean capture of one connection."""
    sent: dict[bool, dict[int, bytes]] = {True: {}, False: {}}
    for frame in frames_of(path):
        if frame[12:14] != b"\x08\0" or frame[23] != 6:
            continue
        total = struct.unpack_from(">H", frame, 16)[0]
        seq = struct.unpack_from(">I", frame, 38)[0]
        data = frame[34 + (frame[46] >> 4) * 4 : 14 + total]
        if data:
            sent[frame[26:30] == CLIENT].setdefault(seq, data)
    return tuple(b"".join(sent[side][s] for s in sorted(sent[side])) for side in (True, False))  # type: ignore[return-value]


def units_of(stream: bytes) -> Iterator[bytes]:
    """Records and Data packets of an MMS server's stream [MS-MMSP 3.1.5.2]."""
    at = 0
    while at < len(stream):
        if stream[at + 4 : at + 8] == b"\xce\xfa\x0b\xb0":
            size = struct.unpack_from("<I", stream, at + 8)[0] + 16
        else:
            size = struct.unpack_from("<H", stream, at + 6)[0]
        yield stream[at : at + size]
        at += size


def media(out: Path, size: int) -> None:
    """One MMS session over TCP that fills the capture: the sample's packets sent again and again."""
    client, server = streams_of(SAMPLE)
    units = list(units_of(server))
    records = [u for u in units if u[4:8] == b"\xce\xfa\x0b\xb0"]
    data = [u for u in units if u[4:8] != b"\xce\xfa\x0b\xb0"]
    header, packets = data[0], data[1:]
    ts = 1_700_000_000_000_000
    seq, ack = 2, 2 + len(client)
    with out.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        file.write(record(ts, tcp(CLIENT, SERVER, 44174, 1755, 1, 0, 2, b"")))
        file.write(record(ts, tcp(SERVER, CLIENT, 1755, 44174, 1, 2, 18, b"")))
        for at in range(0, len(client), MSS):
            file.write(record(ts, tcp(CLIENT, SERVER, 44174, 1755, 2 + at, 2, 24, client[at : at + MSS])))
        pending = b"".join(records[:-2]) + header + records[-2]
        written, number = 0, 0
        while written < size:
            block = [pending]
            for packet in packets:
                block.append(struct.pack("<IBBH", number, 4, number & 0xFF, len(packet)) + packet[8:])
                number += 1
            pending = b"".join(block)
            whole = len(pending) // MSS * MSS
            for at in range(0, whole, MSS):
                ts += 12
                frame = tcp(SERVER, CLIENT, 1755, 44174, seq, ack, 16, pending[at : at + MSS])
                written += file.write(record(ts, frame))
                seq += MSS
            pending = pending[whole:]
        file.write(record(ts, tcp(SERVER, CLIENT, 1755, 44174, seq, ack, 24, pending)))
        seq += len(pending)
        file.write(record(ts, tcp(SERVER, CLIENT, 1755, 44174, seq, ack, 25, records[-1])))


def checksummed(frame: bytes) -> bytes:
    """The frame with its TCP checksum filled in [RFC 9293 3.1]."""
    pseudo = frame[26:34] + b"\0\6" + struct.pack(">H", len(frame) - 34)
    words = pseudo + frame[34:] + b"\0" * (len(frame) % 2)
    total = sum(struct.unpack(f">{len(words) // 2}H", words))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return frame[:50] + struct.pack(">H", ~total & 0xFFFF) + frame[52:]


VIEWERS = 300
FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
DATA_OBJECT = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
"""GUIDs [ASF 10.1, 10.2]."""


def dense(out: Path, size: int) -> None:
    """Hundreds of MMS sessions over TCP side by side that fill the capture, and end with it.

    What was recovered of each has a header that promises another length, and no index: copies made right for
    players are written beside the files as streamed.
    """
    crowd(out, size, SAMPLE)


def complete(out: Path, size: int) -> None:
    """The same of a content without video, watched from begin to end: what was streamed needs no copy."""
    crowd(out, size, AUDIO, whole=True)


def crowd(out: Path, size: int, sample: Path, *, whole: bool = False) -> None:
    """Hundreds of MMS sessions over TCP side by side, acknowledged, checksums right.

    All viewers are sent the same packets, those of the sample again and again; each frame's checksum is that
    of one made before, corrected for what differs, so that the capture is quickly made. With `whole` the
    header says how many packets are sent, and the server that it has sent them all.
    """
    client, server = streams_of(sample)
    units = list(units_of(server))
    records = [u for u in units if u[4:8] == b"\xce\xfa\x0b\xb0"]
    data = [u for u in units if u[4:8] != b"\xce\xfa\x0b\xb0"]
    packet_size = max(len(u) for u in data[1:])
    packets = [u.ljust(packet_size, b"\0") if whole else u for u in data[1:]]
    count = size // (VIEWERS * packet_size) if whole else None
    header = data[0] if count is None else counted(data[0], count, packet_size - 8)
    ts = 1_700_000_000_000_000
    ends = [(bytes([10, 1, n >> 8, n & 255]), 20_000 + n) for n in range(VIEWERS)]
    ack = 2 + len(client)
    with out.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for address, port in ends:
            frames = [
                tcp(address, SERVER, port, 1755, 1, 0, 2, b""),
                tcp(SERVER, address, 1755, port, 1, 2, 18, b""),
                *(
                    tcp(address, SERVER, port, 1755, 2 + at, 2, 24, client[at : at + MSS])
                    for at in range(0, len(client), MSS)
                ),
            ]
            file.write(b"".join(record(ts, checksummed(f)) for f in frames))
        seq, pending, last = 2, b"".join([*records[:-1], header]), records[-1]
        for packet in numbered(packets, count):
            pending += packet
            while len(pending) >= MSS:
                ts, part, pending = ts + VIEWERS, pending[:MSS], pending[MSS:]
                to_all(file, ts, ends, seq, ack, part, reply=seq // MSS % 2 == 1)
                seq += MSS
            if count is None and file.tell() >= size:
                return
        to_all(file, ts, ends, seq, ack, pending + last, reply=True)


def counted(header: bytes, packets: int, packet_size: int) -> bytes:
    """A Data packet with a header, which is made to declare so many packets [ASF 3.2, 5.1]."""
    out = bytearray(header)
    at, data = header.index(FILE_PROPERTIES), header.index(DATA_OBJECT)
    struct.pack_into("<Q", out, at + 40, len(header) - 8 + packets * packet_size)
    struct.pack_into("<Q", out, at + 56, packets)
    struct.pack_into("<Q", out, data + 16, 50 + packets * packet_size)
    struct.pack_into("<Q", out, data + 40, packets)
    return bytes(out)


def numbered(packets: list[bytes], count: int | None) -> Iterator[bytes]:
    """Data packets again and again, with the LocationIds and AFFlags that a server gives them."""
    for n, packet in enumerate(cycle(packets)):
        if n == count:
            return
        yield struct.pack("<IBBH", n, 4, n & 0xFF, len(packet)) + packet[8:]


def to_all(
    file: BinaryIO, ts: int, ends: list[tuple[bytes, int]], seq: int, ack: int, data: bytes, *, reply: bool
) -> None:
    """The same segment to all viewers, and what they acknowledge it with."""
    model = checksummed(tcp(SERVER, ends[0][0], 1755, 0, seq, ack, 16, data))
    answer = checksummed(tcp(ends[0][0], SERVER, 0, 1755, ack, seq + len(data), 16, b""))
    for n, (address, port) in enumerate(ends):
        file.write(record(ts + n, readdressed(model, 30, 36, address, port)))
        if reply:
            file.write(record(ts + n, readdressed(answer, 26, 34, address, port)))


def readdressed(frame: bytes, ip_at: int, port_at: int, address: bytes, port: int) -> bytes:
    """The frame with another address and port at the places given, its checksum corrected [RFC 1624]."""
    old = struct.unpack(">HH", frame[ip_at : ip_at + 4]) + struct.unpack(">H", frame[port_at : port_at + 2])
    new = (*struct.unpack(">HH", address), port)
    total = ~struct.unpack(">H", frame[50:52])[0] & 0xFFFF
    for before, after in zip(old, new, strict=True):
        total += (~before & 0xFFFF) + after
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    out = bytearray(frame)
    out[ip_at : ip_at + 4] = address
    out[port_at : port_at + 2] = port.to_bytes(2, "big")
    out[50:52] = (~total & 0xFFFF).to_bytes(2, "big")
    return bytes(out)


KINDS = {
    "ordinary": ordinary,
    "media": media,
    "dense": dense,
    "complete": complete,
    "small": lambda out, size: ordinary(out, size, payload=26),
}


def main() -> None:
    """Write a capture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    given = parser.parse_args()
    KINDS[given.kind](given.out, int(given.gigabytes * GIGABYTE))


if __name__ == "__main__":
    main()
