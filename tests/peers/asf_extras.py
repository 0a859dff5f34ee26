"""An ASF file with everything that may stand beside sound and pictures, from the ASF specification."""

import struct
import uuid

from peers.asf_file import DATA_OBJECT, FILE_PROPERTIES, HEADER_OBJECT, STREAM_PROPERTIES

SCRIPT_COMMAND = uuid.UUID("1EFB1A30-0B62-11D0-A39B-00A0C90348F6").bytes_le
MARKER = uuid.UUID("F487CD01-A951-11CF-8EE6-00C00C205365").bytes_le
EXTENDED_CONTENT = uuid.UUID("D2D0A440-E307-11D2-97F0-00A0C95EA850").bytes_le
CONTENT_ENCRYPTION = uuid.UUID("2211B3FB-BD23-11D2-B4B7-00A0C955FC6E").bytes_le
EXTENDED_ENCRYPTION = uuid.UUID("298AE614-2622-4C17-B935-DAE07EE9289C").bytes_le
COMMAND_MEDIA = uuid.UUID("59DACFC0-59E6-11D0-A3AC-00A0C90348F6").bytes_le
NO_CORRECTION = uuid.UUID("20FB5700-5B55-11CF-A8FD-00805F5C442B").bytes_le
RESERVED_3 = uuid.UUID("4B1ACBE3-100B-11D0-A39B-00A0C90348F6").bytes_le
RESERVED_4 = uuid.UUID("4CFEDB20-75F6-11CF-9C0F-00A0C90349CB").bytes_le

PREROLL = 3000
PACKET = 600


def utf16(text):
    return text.encode("utf-16-le")


def obj(identity, body):
    return identity + struct.pack("<Q", 24 + len(body)) + body


def script_command(*commands):
    """Script Command Object [3.6] of (ms, type, value)."""
    types = list(dict.fromkeys(kind for _, kind, _ in commands))
    body = RESERVED_3 + struct.pack("<HH", len(commands), len(types))
    for kind in types:
        body += struct.pack("<H", len(kind)) + utf16(kind)
    for ms, kind, value in commands:
        body += struct.pack("<IHH", ms, types.index(kind), len(value)) + utf16(value)
    return obj(SCRIPT_COMMAND, body)


def marker(*places):
    """Marker Object [3.7] of (ms, description)."""
    body = RESERVED_4 + struct.pack("<IHH", len(places), 0, 0)
    for ms, text in places:
        entry = struct.pack("<III", ms, 0, len(text)) + utf16(text)
        body += struct.pack("<QQH", 0, ms * 10_000, len(entry)) + entry
    return obj(MARKER, body)


def picture(kind, mime, description, data, stated=None):
    """A WM_PICTURE: type, size, two texts, data."""
    size = len(data) if stated is None else stated
    return struct.pack("<BI", kind, size) + utf16(mime + "\0") + utf16(description + "\0") + data


def attributes(*pairs):
    """Extended Content Description Object [3.11] of (name, bytes)."""
    body = struct.pack("<H", len(pairs))
    for name, value in pairs:
        body += struct.pack("<H", 2 * len(name) + 2) + utf16(name + "\0")
        body += struct.pack("<HH", 1, len(value)) + value
    return obj(EXTENDED_CONTENT, body)


def content_encryption(system, key_id, url):
    """Content Encryption Object [3.14]."""
    texts = [b"secret", *(text.encode() + b"\0" for text in (system, key_id, url))]
    return obj(CONTENT_ENCRYPTION, b"".join(struct.pack("<I", len(t)) + t for t in texts))


def extended_encryption(xml):
    """Extended Content Encryption Object [3.15]."""
    raw = utf16(xml)
    return obj(EXTENDED_ENCRYPTION, struct.pack("<I", len(raw)) + raw)


def command_stream(number):
    """Stream Properties Object [3.3] of a command stream."""
    return obj(STREAM_PROPERTIES, COMMAND_MEDIA + NO_CORRECTION + struct.pack("<QIIHI", 0, 0, 0, number, 0))


def file_properties(packets, size):
    """File Properties Object [3.2]."""
    fields = struct.pack("<6Q4I", size, 0, packets, 90_000_000, 60_000_000, PREROLL, 2, PACKET, PACKET, 64000)
    return obj(FILE_PROPERTIES, bytes(16) + fields)


def packet(send_ms, payload, *, stream, number, offset=0, whole=None, at_ms=0):
    """A packet of one payload [5.2]: error correction, explicit padding length of 16 bits."""
    whole = len(payload) if whole is None else whole
    body = struct.pack("<BBIBII", 0x80 | stream, number % 256, offset, 8, whole, at_ms) + payload
    padding = PACKET - 13 - len(body)
    return b"\x82\0\0\x10\x5d" + struct.pack("<HIH", padding, send_ms, 100) + body + bytes(padding)


def asf_file(objects, packets):
    """Header Object, Data Object."""
    data = DATA_OBJECT + struct.pack("<Q", 50 + len(packets) * PACKET) + bytes(16)
    data += struct.pack("<QH", len(packets), 0x0101) + b"".join(packets)
    size = 30 + sum(map(len, objects)) + 104
    parts = [file_properties(len(packets), size + len(data)), *objects]
    body = b"".join(parts)
    return HEADER_OBJECT + struct.pack("<QIBB", 30 + len(body), len(parts), 1, 2) + body + data
