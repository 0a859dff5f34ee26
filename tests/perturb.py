"""Captures disturbed as networks and taps disturb them, for tests.

Each function takes (frame, time stamp in ns) pairs of Ethernet, IPv4 and TCP and gives such pairs; what is
left to chance is left to a generator with a seed. What is no TCP stays where it is. Nothing here uses the
package under test.
"""

import struct
from dataclasses import dataclass, replace
from itertools import pairwise

from builders import ACK, FIN, PSH, SYN, checksum

WRAP = 2**32


@dataclass(frozen=True)
class Segment:
    """A TCP segment of a frame, taken apart."""

    ethernet: bytes
    ip: bytes
    tcp: bytes
    payload: bytes

    @property
    def direction(self):
        """Addresses and ports, from whom to whom."""
        return self.ip[12:16], self.tcp[0:2], self.ip[16:20], self.tcp[2:4]

    @property
    def back(self):
        """The other direction."""
        return self.ip[16:20], self.tcp[2:4], self.ip[12:16], self.tcp[0:2]

    @property
    def seq(self):
        return int.from_bytes(self.tcp[4:8], "big")

    @property
    def flags(self):
        return self.tcp[13]

    def moved(self, by):
        """The same, `by` further on in the sequence."""
        return self._with(4, struct.pack(">I", (self.seq + by) % WRAP))

    def flagged(self, flags):
        return self._with(13, bytes([flags]))

    def _with(self, at, value):
        return replace(self, tcp=self.tcp[:at] + value + self.tcp[at + len(value) :])

    def frame(self):
        """The frame, with right lengths and checksums."""
        total = len(self.ip) + len(self.tcp) + len(self.payload)
        ip = self.ip[:2] + struct.pack(">H", total) + self.ip[4:10] + b"\0\0" + self.ip[12:]
        ip = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:]
        segment = self.tcp[:16] + b"\0\0" + self.tcp[18:] + self.payload
        covered = ip[12:20] + struct.pack(">BBH", 0, 6, len(segment)) + segment
        segment = segment[:16] + struct.pack(">H", checksum(covered)) + segment[18:]
        return (self.ethernet + ip + segment).ljust(60, b"\0")


def segment(frame):
    """The TCP segment of a frame; None if it holds none."""
    if frame[12:14] != b"\x08\0" or frame[23] != 6:
        return None
    start = 14 + 4 * (frame[14] & 15)
    end = 14 + int.from_bytes(frame[16:18], "big")
    payload = start + 4 * (frame[start + 12] >> 4)
    return Segment(frame[:14], frame[14:start], frame[start:payload], frame[payload:end])


def segments(frames):
    """(segment or None, frame, time stamp) of each frame."""
    return [(segment(frame), frame, ts) for frame, ts in frames]


def streams(frames):
    """The bytes of each direction of a capture in which nothing is missing, in order of their beginning.

    A dictionary of bytes, the first to arrive kept: too simple to be wrong.
    """
    found, begins = {}, {}
    for part, _, _ in segments(frames):
        if part is None:
            continue
        if part.flags & SYN:
            begins.setdefault(part.direction, part.seq + 1)
        if part.payload:
            content = found.setdefault(part.direction, {})
            at = part.seq - begins[part.direction]
            for k, byte in enumerate(part.payload):
                content.setdefault((at + k) % WRAP, byte)
    return {key: bytes(content[k] for k in range(len(content))) for key, content in found.items()}


# --- order and number ------------------------------------------------------------------------------------


def reordered(frames, rng, window=8, *, past_acks=False):
    """Segments with data come in another order, none much more than `window` places off its own.

    None passes data of the other direction, which may answer it; nor anything else of the other direction
    unless `past_acks`. Time stamps stay in order.
    """
    stretches = [[]]
    latest = None
    for n, (part, _, _) in enumerate(segments(frames)):
        if part is None or not (part.payload or past_acks):
            stretches.append([])
        elif part.payload:
            if part.direction != latest:
                stretches.append([])
            latest = part.direction
            stretches[-1].append(n)
    out = list(frames)
    for places in stretches:
        order = sorted(range(len(places)), key=lambda k: k + rng.uniform(0, window))
        for place, k in zip(places, order, strict=True):
            out[place] = (frames[places[k]][0], frames[place][1])
    return out


def duplicated(frames, rng, share=0.1, later=20):
    """Some segments come a second time, up to `later` frames behind."""
    keyed = [((n, 0), frame) for n, (frame, _) in enumerate(frames)]
    for n, (part, frame, _) in enumerate(segments(frames)):
        if part is not None and part.payload and rng.random() < share:
            keyed.append(((n + rng.randrange(1, later), 1), frame))
    keyed.sort(key=lambda item: item[0])
    return [(frame, frames[min(n, len(frames) - 1)][1]) for (n, _), frame in keyed]


def dropped(frames, rng, share=0.01, spared=lambda number: False):
    """Some frames are missing; returns those that are left, and the numbers of the others, from 0."""
    gone = {n for n in range(len(frames)) if rng.random() < share and not spared(n)}
    return [f for n, f in enumerate(frames) if n not in gone], gone


# --- other cuts -------------------------------------------------------------------------------------------


def resegmented(frames, rng, pieces=4):
    """Segments cut elsewhere: each into up to `pieces`, and some joined with the next as off-loading does."""
    out, waiting = [], None
    for part, frame, ts in segments(frames):
        if part is None or not part.payload or part.flags & SYN:
            if waiting is not None:
                out += _cut(*waiting, rng, pieces)
                waiting = None
            out.append((frame, ts))
            continue
        if waiting is not None:
            before = waiting[0]
            follows = (
                before.direction == part.direction and part.seq == (before.seq + len(before.payload)) % WRAP
            )
            if follows and len(before.payload) < 20_000 and rng.random() < 0.3:
                joined = replace(part, payload=before.payload + part.payload).moved(-len(before.payload))
                waiting = (joined, ts)
                continue
            out += _cut(*waiting, rng, pieces)
        waiting = (part, ts)
    return out + (_cut(*waiting, rng, pieces) if waiting is not None else [])


def _cut(part, ts, rng, pieces):
    inner = range(1, len(part.payload))
    edges = [0, *sorted(rng.sample(inner, min(len(inner), rng.randrange(pieces)))), len(part.payload)]
    found = []
    for begin, end in pairwise(edges):
        piece = replace(part, payload=part.payload[begin:end]).moved(begin)
        if end < len(part.payload):  # what the flags say holds behind the last byte
            piece = piece.flagged(part.flags & ~(FIN | PSH))
        found.append((piece.frame(), ts))
    return found


def overlapping(frames, rng, share=0.3, back=900):
    """Some segments begin before their place, with the bytes that were sent there already."""
    sent, out = {}, []
    for part, frame, ts in segments(frames):
        if part is None or not part.payload or part.flags & SYN:
            out.append((frame, ts))
            continue
        before = sent.get(part.direction, b"")
        lead = min(len(before), rng.randrange(1, back)) if rng.random() < share else 0
        sent[part.direction] = before + part.payload
        if lead:
            frame = replace(part, payload=before[-lead:] + part.payload).moved(-lead).frame()
        out.append((frame, ts))
    return out


# --- sequence numbers -------------------------------------------------------------------------------------


def wrapping(frames):
    """The sequence numbers of each direction go through zero in its middle, acknowledgements with them."""
    shift = {}
    sizes = {key: len(content) for key, content in streams(frames).items()}
    for part, _, _ in segments(frames):
        if part is not None and part.flags & SYN and part.direction not in shift:
            shift[part.direction] = -(part.seq + 1 + sizes.get(part.direction, 0) // 2)
    out = []
    for part, frame, ts in segments(frames):
        if part is not None:
            moved = part.moved(shift[part.direction])
            frame = replace(moved, tcp=_acknowledging(moved, shift[part.back])).frame()
        out.append((frame, ts))
    return out


def _acknowledging(part, by):
    """The header with what it acknowledges moved: its field, and selective ones [RFC 2018 3]."""
    head = bytearray(part.tcp)
    places = [8] if part.flags & ACK else []
    at = 20
    while at < len(head) and head[at]:
        if head[at] == 1:
            at += 1
            continue
        if head[at] == 5:
            places += range(at + 2, at + head[at + 1], 4)
        at += head[at + 1]
    for place in places:
        value = int.from_bytes(head[place : place + 4], "big")
        head[place : place + 4] = struct.pack(">I", (value + by) % WRAP)
    return bytes(head)


# --- IP ---------------------------------------------------------------------------------------------------


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
