"""Whole ASF files of packets, written from the specification [ASF 2, 5]."""

import struct

from peers.asf_objects import DATA, FILE_ID, file_properties, header
from peers.asf_packets import packet, payload

PREROLL_MS = 3000
SMALL = 600  # bytes of a packet of `single`


def data_object(packets):
    """A Data Object with its packets."""
    body = FILE_ID + struct.pack("<QH", len(packets), 0x0101) + b"".join(packets)
    return DATA + struct.pack("<Q", 24 + len(body)) + body


def asf_file(packets, *objects, size, behind=b"", flags=2):
    """A file of packets of `size` bytes; `objects` stand in its header, `behind` after the data."""
    data = data_object(packets)
    properties = file_properties(flags=flags, packets=len(packets), size=size)
    whole = header(properties, *objects)
    total = len(whole) + len(data) + len(behind)
    return whole.replace(properties, with_size(properties, total)) + data + behind


def with_size(properties, total):
    """File Properties that state a file size [ASF 3.2]."""
    return properties[:40] + struct.pack("<Q", total) + properties[48:]


def fragment(data, *, stream, number, size, time, offset=0, key=False, more=b""):
    """A payload with a part of a media object, for a packet of several [ASF 5.2.3]."""
    replicated = struct.pack("<II", size, time) + more
    return payload(
        data, stream=stream, number=number, offset=offset, key=key, replicated=replicated, length=2
    )


def packet_of(fragments, size, send=0):
    """A packet of several payloads."""
    body = bytes([len(fragments) | 2 << 6]) + b"".join(fragments)
    return packet(body, multiple=True, size=size, padding_kind=2, send=send)


def single(send_ms, data, *, stream, number, offset=0, whole=None, at_ms=0):
    """A packet of `SMALL` bytes with one payload of a key object: all of it, or of `whole` bytes a part."""
    replicated = struct.pack("<II", len(data) if whole is None else whole, at_ms)
    body = payload(data, stream=stream, key=True, number=number % 256, offset=offset, replicated=replicated)
    return packet(body, size=SMALL, padding_kind=2, send=send_ms, duration=100)
