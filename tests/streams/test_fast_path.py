"""The fast path changes how segments are put in order, and nothing that is told of them."""

import numpy as np
import pytest
from builders import ACK, FIN, SYN, tcp_frame, write_pcap
from hypothesis import given
from hypothesis import strategies as st

from mmsforensics.evidence import open_evidence
from mmsforensics.packets import CaptureScan, PacketBatch
from mmsforensics.streams import (
    PIECE,
    FlowTable,
    FlowWatch,
    InOrder,
    Predicted,
    Run,
    TcpReassembler,
    fast_path,
)
from mmsforensics.streams.fast_path import FastPath

SERVER, CLIENT = "192.0.2.9", "192.0.2.1"
FRONT = fast_path.FRONT


class Talk:
    """Frames of connections to the port of MMS, whose servers send by turns."""

    def __init__(self, flows):
        self.frames = []
        self.sent = [0] * flows
        for n in range(flows):
            self.say(n, 0, flags=SYN, side=0)
            self.say(n, 0, flags=SYN | ACK)
            self.sent[n] = 1
            self.say(n, 0, side=0)

    def say(self, n, size, *, flags=ACK, side=1, ahead=0, window=65535):
        """A segment with so many bytes, as far ahead of the last one; the other side has acknowledged all."""
        ends = [(CLIENT, 40000 + n), (SERVER, 1755)]
        (src, sport), (dst, dport) = ends[side], ends[1 - side]
        at = self.sent[n] + ahead
        payload = bytes((at + k) * (n + 3) % 251 for k in range(size))
        seq, ack = (7000 + at, 1) if side else (0 if flags & SYN else 1, 7000 + at)
        self.frames.append(
            tcp_frame(src, dst, sport, dport, seq, ack, flags, payload, ip_id=len(self.frames), window=window)
        )
        if side:
            self.sent[n] = at + size
        return self

    def batches(self, path, step):
        """The packets of a capture of them, `step` at a time."""
        path = write_pcap(path / "talk.pcap", [(f, 10**18 + i * 1000) for i, f in enumerate(self.frames)])
        evidence = open_evidence(path)
        for batch in CaptureScan(evidence):
            for begin in range(0, len(batch.rows), step):
                yield PacketBatch(batch.rows[begin : begin + step], batch.data, batch.base)


class Reader:
    """Puts flows in order, on the fast path as soon as nothing waits, or without it."""

    def __init__(self, *, fast=True, gather=0):
        self.table, self.fast = FlowTable(gather), fast
        self.flows, self.streams, self.odd, self.ways = {}, {}, {}, []

    def take(self, parts):
        fed = set()
        for part in parts:
            if isinstance(part, InOrder):
                self.ways.append("fast")
                watch = self.flows[part.uid][0]
                self.keep(part.uid, 1, [part.run.copy()])
            else:
                self.ways.append("long")
                uid = part.flow.uid
                known = self.flows.setdefault(uid, (FlowWatch(part.flow), TcpReassembler(), TcpReassembler()))
                watch = known[0]
                checks = watch.checks(part)
                doubtful = watch.doubtful(checks, part.direction)
                items = []
                for side, stream in enumerate(known[1:]):
                    mine = np.flatnonzero(part.direction == side)
                    wrong = None if doubtful is None else doubtful[mine]
                    items.append(stream.push(part.rows[mine], part.data, part.start[mine], wrong))
                watch.see(part, checks, [stream.origin for stream in known[1:]])
                for side in (0, 1):
                    self.keep(uid, side, watch.items(side, items[side]))
                fed.add(uid)
            self.odd.setdefault(watch.flow.uid, []).extend(watch.told().tolist())
        for uid in sorted(fed) if self.fast else ():
            watch, client, server = self.flows[uid]
            if client.expected is not None and server.expected is not None:
                self.table.predict(Predicted(watch, client, server, 1))

    def keep(self, uid, side, items):
        data, pieces = self.streams.setdefault((uid, side), ([], []))
        for item in items:
            if isinstance(item, Run):
                data.append(item.data.tobytes())
                pieces.extend(item.pieces.tolist())
            else:
                pieces.append(item)

    def read(self, batches):
        for batch in batches:
            self.take(self.table.feed(batch))
        self.take(self.table.finish())
        for uid, (watch, *streams) in self.flows.items():
            for side, stream in enumerate(streams):
                self.keep(uid, side, watch.items(side, stream.finish()))
        return self

    def told(self):
        """Bytes, pieces, anomalies and sums of each flow, whatever the parts in which they came."""
        streams = {key: (b"".join(data), pieces) for key, (data, pieces) in self.streams.items()}
        sums = {}
        for uid, (watch, *in_order) in self.flows.items():
            summary = watch.finish()
            sides = [[plain(getattr(side, name)) for name in side.__slots__] for side in summary.sides]
            ends = [(stream.position, stream.last_frame, stream.last_ts) for stream in in_order]
            sums[uid] = sides, summary.began, summary.ended, ends
        return streams, self.odd, sums


def plain(value):
    return value.tolist() if isinstance(value, np.ndarray) else value


def steady(flows, segments, size=1000):
    """Servers that send segments by turns, with an acknowledgement now and then."""
    talk = Talk(flows)
    for i in range(segments):
        for n in range(flows):
            talk.say(n, size)
            if i % 3 == 2:
                talk.say(n, 0, side=0)
    return talk


def both(talk, tmp_path, step=40, gather=0):
    """The reader that used the fast path, held against one that did not."""
    fast = Reader(gather=gather).read(talk.batches(tmp_path, step))
    long = Reader(fast=False).read(talk.batches(tmp_path, step))
    assert fast.told() == long.told()
    return fast


@pytest.fixture
def lanes(monkeypatch):
    """Sets room for all connections, and for one of them when there are few and when there are many."""

    def set_room(room, largest, smallest=None):
        monkeypatch.setattr(fast_path, "ROOM", room)
        monkeypatch.setattr(fast_path, "LARGEST_PART", largest)
        monkeypatch.setattr(fast_path, "SMALLEST_PART", smallest or largest)

    return set_room


def test_what_is_expected_goes_the_fast_path(tmp_path):
    reader = both(steady(3, 50), tmp_path)
    assert reader.ways.count("fast") == 3  # all that is left in the end
    assert reader.ways.index("fast") > reader.ways.count("long") - 1


def test_what_there_is_no_more_room_for_is_handed_on(tmp_path, lanes):
    lanes(1 << 20, FRONT + 20_000)
    assert both(steady(2, 100), tmp_path).ways.count("fast") >= 2 * 80_000 // 20_000


@pytest.mark.parametrize(
    ("odd", "comes_back"),
    [
        (lambda talk: talk.say(0, 500, flags=ACK | FIN), False),
        (lambda talk: talk.say(0, 500, ahead=-300), True),  # some of it again
        (lambda talk: talk.say(0, 10, side=0), True),  # data of the client
        (lambda talk: talk.say(0, 500, ahead=2000), False),  # behind a hole
    ],
    ids=["fin", "overlap", "client", "hole"],
)
def test_anything_else_ends_it(odd, comes_back, tmp_path):
    talk = steady(2, 30)
    odd(talk)
    for _ in range(200):
        talk.say(0, 700)
    reader = both(talk, tmp_path)
    assert (reader.ways[-1] == "fast") is comes_back
    assert reader.ways.count("long") > 2


def test_a_wrong_checksum_ends_it(tmp_path):
    talk = steady(1, 60)
    at = len(talk.frames) - 30
    assert both(talk, tmp_path).ways.count("fast") == 1
    talk.frames[at] = talk.frames[at][:-1] + bytes([talk.frames[at][-1] ^ 1])
    assert both(talk, tmp_path).ways == ["long", "fast", "long", "long"]  # others may still have its bytes


def test_what_was_sent_again_rightly_is_no_longer_in_doubt(tmp_path):
    talk = steady(1, 60)
    right = talk.frames[40]
    assert len(right) > 1000
    talk.frames.insert(40, right[:-1] + bytes([right[-1] ^ 1]))
    assert both(talk, tmp_path, step=10).ways[-1] == "fast"


def test_more_connections_get_less_room_each(tmp_path, lanes):
    lanes(8 * (FRONT + 16_000), 4 * (FRONT + 16_000), FRONT)
    reader = both(steady(7, 120), tmp_path, gather=20_000)
    assert len(reader.table._fast_path) == 7
    assert FRONT < reader.table._fast_path._part <= FRONT + 16_000


def test_too_many_connections_go_the_long_way(tmp_path, lanes):
    lanes(2 * (FRONT + 16_000), FRONT + 16_000)
    reader = both(steady(5, 60), tmp_path)
    assert reader.ways.count("long") > reader.ways.count("fast") > 0


def test_idle_connections_give_way(tmp_path, lanes):
    lanes(2 * (FRONT + 16_000), FRONT + 16_000)
    talk = steady(4, 10)
    for _ in range(100):
        for n in (2, 3):
            talk.say(n, 1000)
    reader = both(talk, tmp_path)
    assert {int(uid) for uid in reader.table._fast_path._lanes["uid"]} == {2, 3}


def test_a_segment_that_is_larger_than_the_room_goes_the_long_way(tmp_path, lanes):
    lanes(1 << 20, FRONT + 10_000)
    talk = steady(1, 10).say(0, 12_000)
    for _ in range(60):
        talk.say(0, 1000)
    both(talk, tmp_path)


def test_anomalies_of_a_connection_that_only_acknowledges_do_not_pile_up(tmp_path, monkeypatch):
    monkeypatch.setattr(fast_path, "MOST_ODD", 30)
    talk = steady(2, 10)
    for _ in range(200):
        talk.say(1, 0, side=0, window=0)
        talk.say(1, 0, side=0)
    waiting = []
    kept = FastPath._keep_odd

    def keep_odd(path, odd):
        kept(path, odd)
        waiting.append(sum(len(rows) for parts in path._odd.values() for rows in parts))

    monkeypatch.setattr(FastPath, "_keep_odd", keep_odd)
    reader = both(talk, tmp_path, step=10)
    assert len(waiting) > 20
    assert max(waiting) <= 30 + 10
    assert reader.ways.count("fast") > 5
    assert all(len(run.data) for run in reader.flows[1][2]._history)  # no others are remembered


def test_connections_behind_very_many_flows_go_the_long_way(tmp_path, monkeypatch):
    monkeypatch.setattr(fast_path, "MOST_FLOWS", 2)
    reader = both(steady(3, 50), tmp_path)
    assert len(reader.table._fast_path) == 2
    assert len(reader.table._fast_path._lane_of) == 2


@pytest.mark.parametrize("size", [0, 5, FRONT, FRONT + 1])
@pytest.mark.parametrize("count", [0, 1, fast_path.FRONT_PIECES, fast_path.FRONT_PIECES + 1])
def test_bytes_before_are_joined_to_those_in_order(size, count, tmp_path):
    before, pieces = np.arange(size, dtype=np.uint8), np.zeros(count, dtype=PIECE)
    pieces["frame"] = np.arange(count)
    reader, joined = Reader(), []

    def looked_at(parts):
        for part in parts:
            if isinstance(part, InOrder):
                joined.append((part.run.copy(), part.behind(before, pieces).copy()))
            yield part

    for batch in steady(1, 80).batches(tmp_path, 40):
        reader.take(looked_at(reader.table.feed(batch)))
    reader.take(looked_at(reader.table.finish()))
    assert joined
    for run, whole in joined:
        assert len(run.data)
        assert whole.offset == run.offset - size
        assert whole.data.tobytes() == before.tobytes() + run.data.tobytes()
        assert whole.pieces.tolist() == pieces.tolist() + run.pieces.tolist()


@given(
    flows=st.integers(1, 5),
    moves=st.lists(
        st.tuples(
            st.integers(0, 4),
            st.sampled_from([0, 1, 700, 1400, 9000]),
            st.sampled_from([0] * 8 + [-100, 300]),
            st.sampled_from([1] * 6 + [0]),
        ),
        max_size=120,
    ),
    step=st.integers(1, 50),
    part=st.sampled_from([FRONT + 3000, FRONT + 16_000]),
    gather=st.sampled_from([0, 5000, 50_000]),
)
def test_whatever_comes_both_ways_tell_the_same(tmp_path_factory, flows, moves, step, part, gather):
    talk = Talk(flows)
    for n, size, ahead, side in moves:
        talk.say(n % flows, size, ahead=ahead, side=side)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_path, "ROOM", 3 * part)
        patch.setattr(fast_path, "LARGEST_PART", part)
        patch.setattr(fast_path, "SMALLEST_PART", part)
        both(talk, tmp_path_factory.mktemp("talk"), step, gather)
