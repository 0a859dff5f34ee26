"""Objects of an ASF file, written from the specification's field tables [ASF 3, 4]; WM_PICTURE of the SDK."""

import struct
import uuid


def guid(text):
    return uuid.UUID(text).bytes_le


HEADER = guid("75B22630-668E-11CF-A6D9-00AA0062CE6C")
DATA = guid("75B22636-668E-11CF-A6D9-00AA0062CE6C")
FILE_PROPERTIES = guid("8CABDCA1-A947-11CF-8EE4-00C00C205365")
STREAM_PROPERTIES = guid("B7DC0791-A9B7-11CF-8EE6-00C00C205365")
CONTENT_DESCRIPTION = guid("75B22633-668E-11CF-A6D9-00AA0062CE6C")
EXTENDED_CONTENT = guid("D2D0A440-E307-11D2-97F0-00A0C95EA850")
CODEC_LIST = guid("86D15240-311D-11D0-A3A4-00A0C90348F6")
STREAM_BITRATES = guid("7BF875CE-468D-11D1-8D82-006097C9A2B2")
HEADER_EXTENSION = guid("5FBF03B5-A92E-11CF-8EE3-00C00C205365")
SCRIPT_COMMAND = guid("1EFB1A30-0B62-11D0-A39B-00A0C90348F6")
MARKER = guid("F487CD01-A951-11CF-8EE6-00C00C205365")
CONTENT_ENCRYPTION = guid("2211B3FB-BD23-11D2-B4B7-00A0C955FC6E")
EXTENDED_ENCRYPTION = guid("298AE614-2622-4C17-B935-DAE07EE9289C")
METADATA_LIBRARY = guid("44231C94-9498-49D1-A141-1D134E457054")
AUDIO_MEDIA = guid("F8699E40-5B4D-11CF-A8FD-00805F5C442B")
VIDEO_MEDIA = guid("BC19EFC0-5B4D-11CF-A8FD-00805F5C442B")
COMMAND_MEDIA = guid("59DACFC0-59E6-11D0-A3AC-00A0C90348F6")
NO_CORRECTION = guid("20FB5700-5B55-11CF-A8FD-00805F5C442B")
RESERVED_1 = guid("ABD3D211-A9BA-11CF-8EE6-00C00C205365")
RESERVED_3 = guid("4B1ACBE3-100B-11D0-A39B-00A0C90348F6")
RESERVED_4 = guid("4CFEDB20-75F6-11CF-9C0F-00A0C90349CB")
FILE_ID = bytes(range(16))


def obj(identity, body):
    return identity + struct.pack("<Q", 24 + len(body)) + body


def utf16(text):
    """A text that a zero ends."""
    return bare(text) + b"\0\0"


def bare(text):
    """A text by itself."""
    return text.encode("utf-16-le")


def header(*objects, count=None, size=None):
    body = b"".join(objects)
    n = len(objects) if count is None else count
    return HEADER + struct.pack("<QIBB", size or 30 + len(body), n, 1, 2) + body


def file_properties(*, flags=2, packets=7, size=3200, duration=60_000_000, created=0):
    fields = (size * packets, created, packets, duration, duration - 30_000_000, 3000)
    return obj(
        FILE_PROPERTIES, FILE_ID + struct.pack("<6Q", *fields) + struct.pack("<4I", flags, size, size, 64000)
    )


def stream_properties(kind, number, data, *, encrypted=False):
    flags = number | 0x8000 * encrypted
    lengths = struct.pack("<QIIHI", 0, len(data), 0, flags, 0)
    return obj(STREAM_PROPERTIES, kind + NO_CORRECTION + lengths + data)


def audio(number, tag=0x161, channels=2, rate=44100, byte_rate=8000, **more):
    data = struct.pack("<HHIIHHH", tag, channels, rate, byte_rate, 1487, 16, 4) + b"abcd"
    return stream_properties(AUDIO_MEDIA, number, data, **more)


def video(number, tag=b"WMV2", width=320, height=240, **more):
    bitmap = struct.pack("<IIIHH4sIIIII", 40, width, height, 1, 24, tag, 0, 0, 0, 0, 0)
    data = struct.pack("<IIBH", width, height, 2, len(bitmap)) + bitmap
    return stream_properties(VIDEO_MEDIA, number, data, **more)


def content_description(*texts):
    raw = [utf16(text) for text in texts]
    return obj(CONTENT_DESCRIPTION, struct.pack("<5H", *map(len, raw)) + b"".join(raw))


def extended_content(*descriptors):
    body = struct.pack("<H", len(descriptors))
    for name, kind, value in descriptors:
        body += struct.pack("<H", len(utf16(name))) + utf16(name)
        body += struct.pack("<HH", kind, len(value)) + value
    return obj(EXTENDED_CONTENT, body)


def script_command(*commands):
    """Script Command Object [3.6] of (ms, type, value)."""
    types = list(dict.fromkeys(kind for _, kind, _ in commands))
    body = RESERVED_3 + struct.pack("<HH", len(commands), len(types))
    for kind in types:
        body += struct.pack("<H", len(kind)) + bare(kind)
    for ms, kind, value in commands:
        body += struct.pack("<IHH", ms, types.index(kind), len(value)) + bare(value)
    return obj(SCRIPT_COMMAND, body)


def marker(*places, offset=0):
    """Marker Object [3.7] of (ms, description)."""
    body = RESERVED_4 + struct.pack("<IHH", len(places), 0, 0)
    for ms, text in places:
        entry = struct.pack("<III", ms, 0, len(text)) + bare(text)
        body += struct.pack("<QQH", offset, ms * 10_000, len(entry)) + entry
    return obj(MARKER, body)


def picture(kind, mime, description, data, stated=None):
    """A WM_PICTURE: type, size, two texts, data."""
    size = len(data) if stated is None else stated
    return struct.pack("<BI", kind, size) + utf16(mime) + utf16(description) + data


def attributes(*pairs):
    """Extended Content Description Object [3.11] of (name, bytes)."""
    return extended_content(*((name, 1, value) for name, value in pairs))


def content_encryption(system, key_id, url):
    """Content Encryption Object [3.14]."""
    texts = [b"secret", *(text.encode() + b"\0" for text in (system, key_id, url))]
    return obj(CONTENT_ENCRYPTION, b"".join(struct.pack("<I", len(t)) + t for t in texts))


def extended_encryption(xml):
    """Extended Content Encryption Object [3.15]."""
    raw = bare(xml)
    return obj(EXTENDED_ENCRYPTION, struct.pack("<I", len(raw)) + raw)


def command_stream(number):
    """Stream Properties Object [3.3] of a command stream."""
    return stream_properties(COMMAND_MEDIA, number, b"")


def extension(*objects):
    body = b"".join(objects)
    return obj(HEADER_EXTENSION, RESERVED_1 + struct.pack("<HI", 6, len(body)) + body)


def data_object(packets=7, size=50 + 7 * 3200):
    return DATA + struct.pack("<Q", size) + FILE_ID + struct.pack("<QH", packets, 0x0101)
