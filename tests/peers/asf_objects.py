"""Objects of an ASF file, written from the specification's field tables [ASF 3, 4]."""

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
METADATA_LIBRARY = guid("44231C94-9498-49D1-A141-1D134E457054")
AUDIO_MEDIA = guid("F8699E40-5B4D-11CF-A8FD-00805F5C442B")
VIDEO_MEDIA = guid("BC19EFC0-5B4D-11CF-A8FD-00805F5C442B")
NO_CORRECTION = guid("20FB5700-5B55-11CF-A8FD-00805F5C442B")
RESERVED_1 = guid("ABD3D211-A9BA-11CF-8EE6-00C00C205365")
FILE_ID = bytes(range(16))


def obj(identity, body):
    return identity + struct.pack("<Q", 24 + len(body)) + body


def utf16(text):
    return text.encode("utf-16-le") + b"\0\0"


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


def extension(*objects):
    body = b"".join(objects)
    return obj(HEADER_EXTENSION, RESERVED_1 + struct.pack("<HI", 6, len(body)) + body)


def data_object(packets=7, size=50 + 7 * 3200):
    return DATA + struct.pack("<Q", size) + FILE_ID + struct.pack("<QH", packets, 0x0101)
