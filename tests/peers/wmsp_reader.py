"""What a body of MS-WMSP holds, read as simply as it can be: the judge of what foreign senders sent."""

import struct


def bodies(data, start):
    """Bodies of the HTTP messages in one direction, chunks taken off; `start` is how a message begins."""
    found = []
    while data.startswith(start):
        head, _, data = data.partition(b"\r\n\r\n")
        fields = {
            k.strip().lower(): v.strip() for k, _, v in (f.partition(b":") for f in head.split(b"\r\n")[1:])
        }
        body = b""
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            while True:
                line, _, data = data.partition(b"\r\n")
                size = int(line, 16)
                body, data = body + data[:size], data[size + 2 :]
                if not size:
                    break
        elif b"content-length" in fields:
            size = int(fields[b"content-length"])
            body, data = data[:size], data[size:]
        elif start == b"HTTP/":
            body, data = data, b""
        found.append(body)
    return found


def media(body):
    """Of each content in a body of $H, $D and $E: header, then packets zero-padded to the packet size."""
    header, packets, found, at = b"", [], [], 0
    while at + 4 <= len(body):
        assert body[at] & 0x7F == 0x24, f"no framing at {at}"
        kind, (size,) = chr(body[at + 1]), struct.unpack_from("<H", body, at + 2)
        unit = body[at + 4 : at + 4 + size]
        if len(unit) < size:
            break
        if kind == "H":
            if packets:
                found.append((header, packets))
                header, packets = b"", []
            header += unit[8:]
        elif kind == "D":
            packets.append(unit[8:])
        at += 4 + size
    return [as_file(*one) for one in [*found, (header, packets)] if one[1]]


def as_file(header, packets):
    """The packets at their full size, behind their header."""
    at = header.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    (packet_size,) = struct.unpack_from("<I", header, at + 96)
    return header + b"".join(packet.ljust(packet_size, b"\0") for packet in packets)
