"""Data packets and payloads, written from the specification's field tables [ASF 5.2]."""

import struct

WIDTHS = (0, 1, 2, 4)  # bytes of a field by its length type [ASF 5.2.2]
ERROR_CORRECTION = b"\x82\0\0"


def field(value, kind):
    """A field of a length type; the value is cut to what it can hold."""
    return (value & ((1 << 8 * WIDTHS[kind]) - 1)).to_bytes(WIDTHS[kind], "little")


def payload(data, *, stream=1, key=False, number=0, offset=0, replicated=b"", kinds=(1, 3, 1), length=None):
    """One payload; `kinds` are those of replicated length, offset and object number [ASF 5.2.3]."""
    replicated_kind, offset_kind, number_kind = kinds
    return (
        bytes([stream | 0x80 * key])
        + field(number, number_kind)
        + field(offset, offset_kind)
        + field(len(replicated), replicated_kind)
        + replicated
        + (b"" if length is None else field(len(data), length))
        + data
    )


def packet(
    body,
    *,
    multiple=False,
    size=None,
    packet_kind=0,
    sequence_kind=0,
    padding_kind=0,
    kinds=(1, 3, 1),
    send=1000,
    duration=50,
    correction=ERROR_CORRECTION,
    packet_length=None,
):
    """A packet around `body`, padded with 0xEE to `size`."""
    flags = bytes(
        [
            int(multiple) | sequence_kind << 1 | padding_kind << 3 | packet_kind << 5,
            kinds[0] | kinds[1] << 2 | kinds[2] << 4 | 1 << 6,
        ]
    )
    times = struct.pack("<IH", send, duration)
    widths = WIDTHS[packet_kind] + WIDTHS[sequence_kind] + WIDTHS[padding_kind]
    whole = len(correction) + 2 + widths + 6 + len(body)
    padding = 0 if size is None else size - whole
    head = (
        correction
        + flags
        + field(whole + padding if packet_length is None else packet_length, packet_kind)
        + field(0, sequence_kind)
        + field(padding, padding_kind)
        + times
    )
    return head + body + b"\xee" * padding
