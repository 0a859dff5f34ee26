"""The short way of steady flows: whatever comes, it leaves what the long way leaves."""

import random

import numpy as np
import pytest
from builders import ACK, RST, read_pcap, write_pcap
from conftest import SAMPLES
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from perturb import dropped, duplicated, overlapping, reordered, resegmented, segment, wrapping

from mmsforensics.evidence import open_evidence
from mmsforensics.packets import CaptureScan, PacketBatch
from mmsforensics.sessions import SessionRoom, media, steady
from mmsforensics.sessions.steady import take
from mmsforensics.streams import FlowTable, fast_path

MMST = [
    SAMPLES / name
    for name in (
        "mmst_ffmpeg_video.pcap",
        "mmst_mplayer_audio_unicode.pcap",
        "mmst_small_packets_split_header.pcap",
    )
]
OTHERS = [SAMPLES / name for name in ("mmsu_vlc_small.pcap", "mmsh_vlcserver_mplayer.pcap")]


SMALL = fast_path.FRONT + 16_000
"""Room of a connection on the fast path: these captures are small."""


class File:
    """A medium as it is told, whatever the blocks in which it comes."""

    def __init__(self, *opened):
        self.opened, self.parts, self.salvaged, self.summary = opened, ([], [], []), [], None

    def write(self, block):
        for part, rows in zip(self.parts, (block.data, block.packets, block.provenance), strict=True):
            part += rows.tolist()  # not the bytes: between the fields of a row lies what lay there before

    def salvage(self, block):
        self.salvaged.append([rows.tolist() for rows in (block.data, block.packets, block.provenance)])

    def close(self, summary):
        self.summary = [getattr(summary, name) for name in summary.__slots__ if name != "loss"]
        self.summary.append(summary.loss.tolist())

    def told(self):
        return [self.opened, self.parts, self.salvaged, self.summary]


class Told:
    """A `Recorder` that remembers all, so that it can be compared."""

    def __init__(self):
        self.said, self.events, self.odd, self.files = [], {}, {}, []

    def begin(self, *said):
        self.said.append(said)

    def event(self, session, event):
        self.events.setdefault(session, []).append(event)  # sessions take turns as packets are handed on

    def open_medium(self, *opened):
        self.files.append(File(*opened))
        return self.files[-1]

    def row(self, *said):
        self.said.append(said)

    def redirection(self, *said):
        self.said.append(said)

    def unclaimed(self, frames):
        self.said.append(frames.tolist())

    def anomalies(self, flow, rows):
        self.odd.setdefault(flow.uid, []).extend(rows.tolist())

    def conflict(self, *said):
        self.said.append(said)

    def flow(self, summary, *said):
        sides = [[_plain(getattr(s, name)) for name in s.__slots__] for s in summary.sides]
        others = [getattr(summary, name) for name in summary.__slots__ if name != "sides"]
        self.said.append((sides, others, said))

    def session(self, summary):
        self.said.append(summary)

    def all(self):
        return self.said, self.events, self.odd, [file.told() for file in self.files]


def _plain(value):
    return value.tolist() if isinstance(value, np.ndarray) else value


def told(path, step, *, fast, gather=0):
    """What a capture tells, `step` packets at a time, with the fast path or without it."""
    told, table = Told(), FlowTable(gather)
    room = SessionRoom(told)
    for batch in CaptureScan(open_evidence(path)):
        for begin in range(0, len(batch.rows), step):
            room.feed(table.feed(PacketBatch(batch.rows[begin : begin + step], batch.data, batch.base)))
            for connection in room.predicted() if fast else ():
                table.predict(connection)
    room.feed(table.finish())
    room.finish()
    return told.all()


def both_ways(path, step, gather=0, part=SMALL):
    """How often bytes went the short way, of how often they might have; the two ways must tell the same.

    `part` is the room of one connection on the fast path.
    """
    taken = []

    def short(*parts):
        taken.append(take(*parts))
        return taken[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steady, "take", short)
        patch.setattr(fast_path, "LARGEST_PART", part)
        assert told(path, step, fast=True, gather=gather) == told(path, step, fast=False, gather=gather)
    return sum(taken), len(taken)


@pytest.mark.parametrize("capture", MMST, ids=lambda path: path.stem)
def test_an_undisturbed_flow_goes_the_short_way(capture):
    """All but the bytes with records among the media, and those that hold no whole packet."""
    taken, asked = both_ways(capture, 16)
    assert taken >= 3
    assert taken > asked // 3


def test_packets_laid_some_at_a_time_make_the_same_file(monkeypatch):
    """As those are that are tiny and padded to a large size."""
    whole = told(MMST[0], 10_000, fast=False)
    monkeypatch.setattr(media, "LAID_AT_ONCE", 10_000)
    assert told(MMST[0], 10_000, fast=False) == whole


# --- everything that may happen to it ------------------------------------------------------------------


def spoiled(frames, rng):
    """Bytes of some segments fall over, behind the checksum or before it."""
    out = []
    for frame, ts in frames:
        part = segment(frame)
        if part is not None and part.payload and rng.random() < 0.05:
            at = len(frame) - 1 - rng.randrange(len(part.payload))
            frame = frame[:at] + bytes([frame[at] ^ (1 << rng.randrange(8))]) + frame[at + 1 :]
            if rng.random() < 0.7:
                frame = segment(frame).frame()
        out.append((frame, ts))
    return out


def reset(frames, rng):
    """Somewhere a segment without data has RST, and the connection goes on all the same."""
    n = rng.randrange(len(frames))
    part = segment(frames[n][0])
    if part is None or part.payload:
        return frames
    return [*frames[:n], (part.flagged(RST | ACK).frame(), frames[n][1]), *frames[n:]]


DISTURB = {
    "reordered": reordered,
    "reordered past acknowledgements": lambda frames, rng: reordered(frames, rng, past_acks=True),
    "duplicated": duplicated,
    "dropped": lambda frames, rng: dropped(frames, rng, share=rng.choice([0.01, 0.1]))[0],
    "beginning lost": lambda frames, rng: frames[rng.randrange(len(frames)) :],
    "cut short": lambda frames, rng: frames[: rng.randrange(1, len(frames))],
    "resegmented": resegmented,
    "overlapping": overlapping,
    "spoiled": spoiled,
    "reset": reset,
}


def beside(frames, others):
    """Frames of two captures by turns, a millisecond apart."""
    ahead = len(others) / len(frames)
    placed = [(n * ahead, 0, frame) for n, (frame, _) in enumerate(frames)]
    placed += [(n, 1, frame) for n, (frame, _) in enumerate(others)]
    return [(frame, 10**18 + n * 10**6) for n, (*_, frame) in enumerate(sorted(placed))]


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    capture=st.sampled_from(MMST),
    seed=st.integers(0, 2**32),
    ways=st.lists(st.sampled_from(sorted(DISTURB)), max_size=3),
    wraps=st.booleans(),
    company=st.sampled_from([None, *OTHERS]),
    step=st.integers(1, 80),
    gather=st.sampled_from([0, 10_000, 100_000]),
    part=st.sampled_from([SMALL, fast_path.SMALLEST_PART, fast_path.LARGEST_PART]),
)
@example(capture=MMST[0], seed=1, ways=[], wraps=True, company=None, step=20, gather=0, part=SMALL)
@example(capture=MMST[0], seed=1, ways=[], wraps=False, company=OTHERS[0], step=40, gather=0, part=SMALL)
@example(capture=MMST[1], seed=1, ways=[], wraps=False, company=OTHERS[1], step=40, gather=10_000, part=SMALL)
def test_both_ways_tell_the_same(tmp_path, capture, seed, ways, wraps, company, step, gather, part):
    rng = random.Random(seed)
    frames = read_pcap(capture)
    if wraps:
        frames = wrapping(frames)
    for way in ways:
        frames = DISTURB[way](frames, rng) or frames
    if company is not None:
        frames = beside(frames, read_pcap(company))
    both_ways(write_pcap(tmp_path / "disturbed.pcap", frames), step, gather, part)
