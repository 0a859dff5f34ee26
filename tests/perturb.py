"""Captures disturbed as networks and taps disturb them, for tests.

Each function takes (frame, time stamp in ns) pairs of Ethernet, IPv4 and TCP and gives such pairs; what is
left to chance is left to a generator with a seed. Nothing here uses the package under test.
"""

import struct


def fragmented(frame, size, number, rng):
    """The fragments of an Ethernet frame's IPv4 packet, in some order."""
    header, body = frame[14:34], frame[34 : 14 + int.from_bytes(frame[16:18], "big")]
    if len(body) <= size:
        return [frame]
    parts = []
    for at in range(0, len(body), size):
        more = 0x2000 if at + size < len(body) else 0
        head = header[:2] + struct.pack(
            ">HHH", 20 + len(body[at : at + size]), number & 0xFFFF, more | at // 8
        )
        parts.append(frame[:14] + head + header[8:] + body[at : at + size])
    rng.shuffle(parts)
    return parts
