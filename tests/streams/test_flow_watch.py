"""What is odd about a flow, kind by kind: captures of a few frames, made as the odd host would make them."""

import numpy as np
import pytest
from builders import ACK, FIN, RST, SYN, pcap_bytes, tcp_frame, udp_frame
from hypothesis import given
from hypothesis import strategies as st

from mmsforensics.evidence import open_evidence
from mmsforensics.packets import CaptureScan
from mmsforensics.streams import Conflict, FlowTable, FlowWatch, Gap, Kind, Policy, Run, TcpReassembler
from mmsforensics.streams.flow_watch import DETAILS
from mmsforensics.streams.watch import Check

CLIENT, SERVER = "10.0.0.1", "192.0.2.1"
ISN = (1000, 500_000)
MS = 1_000_000


class Wire:
    """Frames of one connection; the client is side 0, each frame comes a millisecond after the last."""

    def __init__(self, isn=ISN, vlan=(), port=1755):
        self.isn, self.vlan, self.port = isn, vlan, port
        self.frames = []
        self.now = 10**18

    def say(self, side, offset, payload=b"", flags=ACK, acked=0, *, after=MS, spoil=False, **fields):
        """A segment at a stream offset of its side, acknowledging `acked` bytes of the other's."""
        ends = [(CLIENT, 40000), (SERVER, self.port)]
        (src, sport), (dst, dport) = ends[side], ends[1 - side]
        seq, ack = self.isn[side] + 1 + offset, self.isn[1 - side] + 1 + acked
        fields.setdefault("ip_id", len(self.frames) + 1)
        fields.setdefault("pad", False)
        frame = tcp_frame(src, dst, sport, dport, seq, ack, flags, payload, vlan=self.vlan, **fields)
        if spoil:  # a bit that fell over behind the checksum
            frame = frame[: -len(payload)] + bytes([payload[0] ^ 1]) + payload[1:]
        self.now += after
        self.frames.append((frame, self.now))
        return self

    def open(self, **options):
        """A handshake."""
        self.say(0, -1, flags=SYN, acked=-1, **options)
        self.say(1, -1, flags=SYN | ACK, **options)
        return self.say(0, 0)

    def close(self, sent=(0, 0)):
        """A FIN from each side."""
        self.say(1, sent[1], flags=FIN | ACK, acked=sent[0])
        self.say(0, sent[0], flags=FIN | ACK, acked=sent[1])
        return self

    def watched(self, tmp_path, policy=Policy.FIRST, snaplen=None, **scan):
        """What the watch tells: anomalies as (kind, side, offset, size, details) by kind, and the summary."""
        path = tmp_path / "wire.pcap"
        path.write_bytes(pcap_bytes(self.frames, nanosecond=True, snaplen=snaplen))
        return watched(path, policy, **scan)


class Watched:
    """What came of watching one flow."""

    def __init__(self, watch, items):
        self.summary = watch.finish()
        self.items = items
        self.rows = watch.told()
        self.kinds = [Kind(k) for k in self.rows["kind"]]

    def only(self, kind):
        """The one row of a kind: side, stream offset, size and details."""
        (row,) = [r for r in self.rows if r["kind"] == kind]
        details = dict(zip(DETAILS.get(kind, ()), (int(row["a"]), int(row["b"])), strict=False))
        return int(row["direction"]), int(row["offset"]), int(row["size"]), details

    def data(self, side):
        """The side's stream, holes as dots."""
        return b"".join(
            bytes(i.data) if isinstance(i, Run) else b"." * i.length
            for i in self.items[side]
            if not isinstance(i, Conflict)
        )


def watched(path, policy=Policy.FIRST, **scan):
    """Watch the flows of a capture as the sessions room does; the first flow is returned."""
    watches, streams, items = {}, {}, {}
    table = FlowTable()
    with open_evidence(path) as evidence:
        for batch in CaptureScan(evidence, hashing=False, **scan):
            for packets in table.feed(batch):
                uid = packets.flow.uid
                watch = watches.setdefault(uid, FlowWatch(packets.flow))
                pair = streams.setdefault(uid, (TcpReassembler(policy=policy), TcpReassembler(policy=policy)))
                got = items.setdefault(uid, ([], []))
                checks = watch.checks(packets)
                if packets.flow.proto == 17:
                    watch.see(packets, checks)
                    continue
                doubtful = watch.doubtful(checks, packets.direction)
                fresh = []
                for side in (0, 1):
                    mine = packets.direction == side
                    wrong = None if doubtful is None else doubtful[mine]
                    fresh.append(
                        pair[side].push(packets.rows[mine], packets.data, packets.start[mine], wrong)
                    )
                watch.see(packets, checks, [p.origin for p in pair])
                for side in (0, 1):
                    got[side].extend(watch.items(side, fresh[side]))
    for uid, got in items.items():
        for side in (0, 1):
            left = streams[uid][side].finish(watches[uid].accepted(side))
            got[side].extend(watches[uid].items(side, left))
    return [Watched(watches[uid], items[uid]) for uid in sorted(watches)][-1]


def test_a_clean_connection_has_nothing_odd(tmp_path):
    wire = Wire().open().say(0, 0, b"hello").say(1, 0, b"world", acked=5).say(0, 5, acked=5)
    seen = wire.close((5, 5)).watched(tmp_path)
    assert seen.kinds == []
    summary = seen.summary
    assert (summary.began, summary.ended, summary.rtt) == ("handshake", "fin", 2 * MS)
    assert [s.payload for s in summary.sides] == [5, 5]
    assert [(s.acked, s.acked_unseen, s.seen_unacked) for s in summary.sides] == [(5, 0, 0), (5, 0, 0)]
    assert [s.mac for s in summary.sides] == ["02:00:00:00:00:0a"] * 2


def test_who_opened_it(tmp_path):
    seen = Wire().say(1, -1, flags=SYN).watched(tmp_path)
    assert seen.summary.opener == seen.summary.flow.b
    assert Wire().say(1, 0, b"world").watched(tmp_path).summary.opener is None


def test_an_answer_alone_tells_who_opened_it(tmp_path):
    """As a tap in one direction has it: whoever sends SYN and ACK was called."""
    seen = Wire().say(1, -1, flags=SYN | ACK).say(1, 0, b"world").watched(tmp_path)
    assert seen.summary.opener == seen.summary.flow.a
    assert seen.only(Kind.START_NOT_CAPTURED)[0] == 1, "the SYN itself is not there"
    late = Wire().open()
    late.frames[0], late.frames[1] = late.frames[1], late.frames[0]
    assert late.watched(tmp_path).summary.opener == seen.summary.flow.a


@pytest.mark.parametrize("side", [0, 1])
def test_a_connection_that_nobody_answers_begins_in_the_capture(tmp_path, side):
    """A scan's SYN: its row names who sent the frame that it points to."""
    seen = Wire().say(side, -1, flags=SYN).watched(tmp_path)
    assert seen.summary.began == "half a handshake"
    assert sorted(seen.kinds) == sorted([Kind.ONE_SIDED, Kind.END_NOT_CAPTURED])
    assert seen.only(Kind.ONE_SIDED)[0] == 1 - side
    assert seen.only(Kind.END_NOT_CAPTURED)[0] == side


def test_options_of_the_handshake(tmp_path):
    options = bytes([1, 2, 4, 0x05, 0xB4, 3, 3, 7])  # no-operation, MSS 1460, scale 7
    seen = Wire(vlan=(100, 7)).open(options=options).watched(tmp_path)
    assert [(s.mss, s.window_scale) for s in seen.summary.sides] == [(1460, 7)] * 2
    assert seen.summary.vlans == (100, 7)
    bare = Wire().open().watched(tmp_path)
    assert [(s.mss, s.window_scale) for s in bare.summary.sides] == [(None, -1)] * 2


def test_a_retransmission_and_a_spurious_one(tmp_path):
    wire = Wire().open().say(1, 0, b"world").say(1, 0, b"world")
    wire.say(0, 0, acked=5).say(1, 0, b"world")
    seen = wire.watched(tmp_path)
    assert seen.only(Kind.RETRANSMISSION)[:3] == (1, 0, 5)
    assert seen.only(Kind.SPURIOUS_RETRANSMISSION)[:3] == (1, 0, 5)
    assert seen.summary.sides[1].retransmitted == 2
    assert seen.summary.sides[1].retransmitted_bytes == 10


def test_the_signs_of_begin_and_end_sent_again(tmp_path):
    wire = Wire().say(0, -1, flags=SYN, acked=-1).open().close().say(1, 0, flags=FIN | ACK, acked=0)
    seen = wire.watched(tmp_path)
    assert seen.kinds == [Kind.RETRANSMISSION] * 2
    assert list(seen.rows["size"]) == [0, 0]


@pytest.mark.parametrize(("after", "kind"), [(MS, Kind.OUT_OF_ORDER), (50 * MS, Kind.RETRANSMISSION)])
def test_what_fills_a_hole_was_overtaken_or_sent_again(after, kind, tmp_path):
    wire = Wire().open().say(1, 5, b"world").say(1, 0, b"hello", after=after)
    seen = wire.watched(tmp_path)
    assert seen.only(kind)[:3] == (1, 0, 5)
    assert seen.data(1) == b"helloworld"
    assert Kind.GAP not in seen.kinds


@pytest.mark.parametrize(
    ("acked", "said", "unseen"), [(10, 5, 5), (2, 2, 2), (0, 0, 0)], ids=["capture", "some", "on the way"]
)
def test_a_hole_and_what_was_acknowledged_of_it(acked, said, unseen, tmp_path):
    wire = Wire().open().say(1, 5, b"world").say(0, 0, acked=acked)
    seen = wire.watched(tmp_path)
    assert seen.only(Kind.GAP) == (1, 0, 5, {"acknowledged": said})
    assert [i.acked for i in seen.items[1] if isinstance(i, Gap)] == [said]
    side = seen.summary.sides[1]
    assert (side.acked, side.acked_unseen, side.gap_bytes) == (acked, unseen, 5)


def test_bytes_acknowledged_behind_the_last_one_seen(tmp_path):
    seen = Wire().open().say(1, 0, b"world").say(0, 0, acked=105).watched(tmp_path)
    assert seen.only(Kind.ACKED_UNSEEN)[:3] == (1, 5, 100)
    assert seen.summary.sides[1].acked_unseen == 100


@pytest.mark.parametrize(("acked", "unseen", "unacked"), [(12, 7, 0), (8, 3, 0), (3, 0, 2)])
def test_bytes_missing_before_the_fin_are_counted_once(acked, unseen, unacked, tmp_path):
    wire = Wire().open().say(1, 0, b"world").say(1, 12, flags=FIN | ACK).say(0, 0, acked=acked)
    seen = wire.watched(tmp_path)
    assert seen.only(Kind.GAP)[:3] == (1, 5, 7)
    assert Kind.ACKED_UNSEEN not in seen.kinds
    side = seen.summary.sides[1]
    assert (side.acked_unseen, side.seen_unacked) == (unseen, unacked)


def test_bytes_seen_and_never_acknowledged(tmp_path):
    seen = Wire().open().say(1, 0, b"world").say(0, 0, acked=2).watched(tmp_path)
    assert seen.summary.sides[1].seen_unacked == 3


def test_an_overlap_with_the_same_bytes(tmp_path):
    seen = Wire().open().say(1, 0, b"hello").say(1, 3, b"loworld").watched(tmp_path)
    assert seen.only(Kind.OVERLAP)[:3] == (1, 3, 2)
    assert seen.data(1) == b"helloworld"
    assert not any(isinstance(i, Conflict) for i in seen.items[1])


def test_bytes_sent_again_differently(tmp_path):
    """Those handed on stay; both versions are told, with the frames that they come from."""
    seen = Wire().open().say(1, 0, b"hello").say(1, 0, b"jelly").watched(tmp_path)
    (conflict,) = [i for i in seen.items[1] if isinstance(i, Conflict)]
    assert (conflict.kept, conflict.other) == (b"hello", b"jelly")
    assert (conflict.kept_frame, conflict.frame) == (4, 5)
    assert (conflict.offset, conflict.length) == (0, 2)
    assert seen.data(1) == b"hello"


WAITING = [(1, b"AAA"), (5, b"BBB"), (1, b"CCC"), (3, b"DDD"), (4, b"EEEEE"), (5, b"FFFF")]
"""Segments behind a hole of one byte, so that all of them wait together."""


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy.FIRST, b".AAADBBBE"),
        (Policy.LAST, b".CCDEFFFF"),
        (Policy.BSD, b".AAADDEEE"),
        (Policy.WINDOWS, b".AAADDEEE"),
        (Policy.LINUX, b".AAADDEEE"),
        (Policy.SOLARIS, b".CCDEEEEE"),
    ],
)
def test_policies(policy, expected, tmp_path):
    """Worked out by hand from the definitions of the policies, byte by byte."""
    wire = Wire().open()
    for offset, payload in WAITING:
        wire.say(1, offset, payload)
    assert wire.watched(tmp_path, policy).data(1) == expected


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy.FIRST, b".AAAB"),
        (Policy.LAST, b".BBBB"),
        (Policy.BSD, b".AAAB"),
        (Policy.LINUX, b".BBBB"),
        (Policy.SOLARIS, b".BBBB"),
    ],
)
def test_of_two_that_begin_alike_the_longer_wins_on_linux(policy, expected, tmp_path):
    wire = Wire().open().say(1, 1, b"AAA").say(1, 1, b"BBBB")
    assert wire.watched(tmp_path, policy).data(1) == expected


def test_a_segment_whose_receiver_refused_it_gives_way(tmp_path):
    """Its checksum is wrong among right ones: what was sent again in its place is the stream."""
    wire = Wire().open()
    for i in range(10):
        wire.say(1, 5 * i, b"right")
    wire.say(1, 50, b"wrong", spoil=True).say(1, 50, b"wrong", after=200 * MS).say(0, 0, acked=55)
    seen = wire.watched(tmp_path)
    assert seen.data(1) == b"right" * 10 + b"wrong"
    assert seen.only(Kind.BAD_CHECKSUM)[:3] == (1, 50, 5)
    assert not any(isinstance(i, Conflict) for i in seen.items[1])
    assert Kind.RETRANSMISSION not in seen.kinds, "the receiver had not taken it before"


def test_a_segment_with_a_wrong_checksum_is_better_than_none(tmp_path):
    wire = Wire().open()
    for i in range(10):
        wire.say(1, 5 * i, b"right")
    seen = wire.say(1, 50, b"wrong", spoil=True).watched(tmp_path)
    assert seen.data(1) == b"right" * 10 + b"vrong"


def test_wrong_checksums_throughout_say_nothing(tmp_path):
    wire = Wire().open()
    for i in range(10):
        wire.say(1, 5 * i, b"wrong", spoil=True)
    seen = wire.watched(tmp_path)
    assert seen.data(1) == b"vrong" * 10
    assert Kind.BAD_CHECKSUM not in seen.kinds


def test_checksums_left_to_the_network_card(tmp_path):
    """The kernel leaves the sum of the pseudo-header in the field, uncomplemented, for the card to finish."""
    wire = Wire().open().say(1, 0, b"world")
    frame, ts = wire.frames[-1]
    words = frame[26:34] + b"\0\6" + (len(b"world") + 20).to_bytes(2, "big")
    total = sum(int.from_bytes(words[i : i + 2], "big") for i in range(0, len(words), 2))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    wire.frames[-1] = (frame[:50] + total.to_bytes(2, "big") + frame[52:], ts)
    seen = wire.watched(tmp_path)
    assert seen.summary.sides[1].checksums_offloaded == 1
    assert seen.kinds == [Kind.END_NOT_CAPTURED]


def test_a_right_checksum_may_be_zero(tmp_path):
    """One in 65535 is; it was not left to the network card."""
    wire = Wire().open()
    for n in range(1 << 16):
        payload = n.to_bytes(2, "big")
        frame = tcp_frame(SERVER, CLIENT, 1755, 40000, ISN[1] + 1, ISN[0] + 1, ACK, payload, pad=False)
        if frame[50:52] == b"\0\0":
            break
    seen = wire.say(1, 0, payload).watched(tmp_path)
    assert seen.summary.sides[1].checksums_offloaded == 0


def test_data_beyond_the_window(tmp_path):
    wire = Wire().say(0, -1, flags=SYN, acked=-1).say(1, -1, flags=SYN | ACK)
    wire.say(0, 0, window=100).say(1, 0, b"x" * 90).say(1, 90, b"y" * 20)
    seen = wire.watched(tmp_path)
    assert seen.only(Kind.BEYOND_WINDOW) == (1, 90, 10, {"window_ends_at": 100})


def test_a_scaled_window_is_no_narrow_one(tmp_path):
    wire = Wire().open(options=bytes([3, 3, 4, 0])).say(0, 0, window=100).say(1, 0, b"x" * 1000)
    assert Kind.BEYOND_WINDOW not in wire.watched(tmp_path).kinds


def test_a_window_that_shrinks_takes_back_no_room(tmp_path):
    """What was sent for the wider window is in its rights [RFC 9293 3.8.6]."""
    wire = Wire().open().say(0, 0, window=100).say(1, 0, b"x" * 90).say(1, 90, b"y" * 20)
    assert Kind.BEYOND_WINDOW not in wire.watched(tmp_path).kinds


def test_the_scale_of_one_side_says_nothing_without_the_others(tmp_path):
    """The SYN of the client is missing; the window in that of the server is never scaled."""
    wire = Wire().say(1, -1, flags=SYN | ACK, window=100, options=bytes([3, 3, 4, 0]))
    wire.say(1, 0, window=100).say(0, 0, b"x" * 1000)
    assert Kind.BEYOND_WINDOW not in wire.watched(tmp_path).kinds


def test_a_closed_window_and_a_probe_of_it(tmp_path):
    wire = Wire().open().say(1, 0, b"world").say(0, 0, acked=5, window=0).say(1, 5, b"!")
    seen = wire.watched(tmp_path)
    assert seen.only(Kind.ZERO_WINDOW)[0] == 0
    assert seen.only(Kind.ZERO_WINDOW_PROBE)[:3] == (1, 5, 1)
    assert Kind.BEYOND_WINDOW not in seen.kinds


@pytest.mark.parametrize("payload", [b"", b"d", b"\xff"])
def test_a_keep_alive(payload, tmp_path):
    wire = Wire().open().say(1, 0, b"world").say(0, 0, acked=5).say(1, 4, payload, after=1000 * MS)
    seen = wire.watched(tmp_path)
    assert seen.only(Kind.KEEP_ALIVE)[:2] == (1, 4)
    assert Kind.SPURIOUS_RETRANSMISSION not in seen.kinds
    assert not any(isinstance(item, Conflict) for item in seen.items[1])


def test_a_byte_that_nobody_acknowledged_is_no_keep_alive(tmp_path):
    seen = Wire().open().say(1, 0, b"world").say(1, 4, b"\xff", after=1000 * MS).watched(tmp_path)
    assert [item.other for item in seen.items[1] if isinstance(item, Conflict)] == [b"\xff"]


def test_data_behind_the_end(tmp_path):
    wire = Wire().open().say(1, 0, b"bye", flags=FIN | ACK).say(1, 3, b"more")
    assert wire.watched(tmp_path).only(Kind.DATA_AFTER_FIN) == (1, 3, 4, {"fin_at": 3})
    wire = Wire().open().say(1, 0, flags=RST).say(1, 0, b"more")
    assert wire.watched(tmp_path).only(Kind.DATA_AFTER_RST)[:3] == (1, 0, 4)


def test_a_reset_that_does_not_fit_its_connection(tmp_path):
    """As a box on the way sends it: from another distance, or at another place."""
    wire = Wire().open().say(1, 0, b"world").say(0, 0, acked=5)
    far = wire.say(1, 5, flags=RST, ttl=51).watched(tmp_path)
    assert far.only(Kind.SUSPICIOUS_RST)[3] == {"ttl": 51, "bytes_from_expected": 0}
    wire = Wire().open(window=100).say(1, 0, b"world").say(0, 0, acked=5, window=100)
    beyond = wire.say(1, 100_000, flags=RST).watched(tmp_path)
    assert beyond.only(Kind.SUSPICIOUS_RST)[3]["bytes_from_expected"] == 99_995
    wire = Wire().open().say(1, 0, b"world").say(0, 0, acked=5)
    assert Kind.SUSPICIOUS_RST not in wire.say(1, 5, flags=RST).watched(tmp_path).kinds


def test_a_reset_behind_a_fin_lies_where_it_should(tmp_path):
    """A FIN takes a sequence number of its own; no window is known inside of a connection."""
    wire = Wire().say(1, 0, b"world").say(0, 0, acked=5).say(0, 0, flags=FIN | ACK, acked=5)
    assert Kind.SUSPICIOUS_RST not in wire.say(0, 1, flags=RST).watched(tmp_path).kinds


def test_each_of_several_resets_from_elsewhere(tmp_path):
    wire = Wire().open().say(1, 0, b"world").say(0, 0, acked=5)
    wire.say(1, 5, flags=RST, ttl=51).say(1, 5, flags=RST, ttl=51).say(1, 5, b"!")
    seen = wire.watched(tmp_path)
    assert seen.kinds.count(Kind.SUSPICIOUS_RST) == 2
    assert [(int(r["a"]), int(r["b"])) for r in seen.rows if r["kind"] == Kind.TTL_CHANGE] == [(64, 51)] * 2


def test_a_reset_that_its_receiver_dropped_ends_nothing(tmp_path):
    """It lies outside of the window [RFC 9293 3.10.7.4]; both sides go on, and close as usual."""
    wire = Wire().open().say(1, 0, b"world").say(0, 0, acked=5).say(1, 10**9, flags=RST)
    seen = wire.say(1, 5, b"!").say(0, 0, acked=6).close((0, 6)).watched(tmp_path)
    assert seen.kinds == [Kind.SUSPICIOUS_RST]
    assert seen.summary.ended == "fin"


def leaping(flags=ACK, payload=b"forged", *, options=b"", side=1, acked=0):
    """A connection in which somebody else says a packet that lies far beyond all windows."""
    wire = Wire().open(options=options).say(1, 0, b"hello").say(0, 0, acked=5)
    wire.say(side, 5 + 9 * 10**8 if side else 0, payload, flags=flags, acked=acked)
    return wire.say(1, 5, b"world").say(0, 0, acked=10).say(1, 10, b"!").say(0, 0, acked=11)


@pytest.mark.parametrize("options", [b"", bytes([3, 3, 7, 0])])
def test_one_segment_far_beyond_the_window_moves_nothing(options, tmp_path):
    seen = leaping(options=options).close((0, 11)).watched(tmp_path)
    assert seen.kinds == [Kind.BEYOND_WINDOW]
    assert seen.data(1) == b"helloworld!"
    side = seen.summary.sides[1]
    assert (side.gap_bytes, side.acked, side.acked_unseen, side.seen_unacked) == (0, 11, 0, 0)
    assert seen.summary.ended == "fin"


def test_a_fin_far_beyond_the_window_ends_nothing(tmp_path):
    seen = leaping(FIN | ACK, b"").close((0, 11)).watched(tmp_path)
    assert seen.kinds == [Kind.BEYOND_WINDOW]
    assert seen.data(1) == b"helloworld!"
    assert (seen.summary.sides[1].gap_bytes, seen.summary.ended) == (0, "fin")


def test_an_acknowledgement_of_what_was_never_sent(tmp_path):
    seen = leaping(payload=b"", side=0, acked=9 * 10**8).close((0, 11)).watched(tmp_path)
    assert seen.kinds == [Kind.ACK_OF_UNSENT]
    assert seen.only(Kind.ACK_OF_UNSENT)[3] == {"acknowledges_up_to": 9 * 10**8}
    assert int(seen.rows["frame"][0]) == 6
    side = seen.summary.sides[1]
    assert (side.acked, side.acked_unseen, side.seen_unacked) == (11, 0, 0)


@pytest.mark.parametrize("far", [9 * 10**8, -9 * 10**8])
@pytest.mark.parametrize("place", [0, 1])
def test_a_forged_segment_inside_of_a_connection(far, place, tmp_path):
    """Where the scale of the window is not known it moves nothing either, nor is it the beginning."""
    wire = Wire().say(1, 0, b"hello").say(0, 0, acked=5).say(1, 5, b"world").say(0, 0, acked=10)
    wire.frames.insert(2 + place, Wire().say(1, 5 + far, b"forged").frames[0])
    wire.frames = [(frame, 10**18 + n * MS) for n, (frame, _) in enumerate(wire.frames)]
    seen = wire.say(1, 10, b"!").say(0, 0, acked=11).watched(tmp_path)
    assert seen.data(1) == b"hello" + b"world!"
    side = seen.summary.sides[1]
    assert (side.gap_bytes, side.acked, side.acked_unseen, side.seen_unacked) == (0, 11, 0, 0)
    assert (Kind.BEYOND_WINDOW in seen.kinds) == (far > 0)


PAUSE = 10**8


@pytest.mark.parametrize(
    "behind",
    [
        [(1, PAUSE, 0)],
        [(1, PAUSE, 0), (1, PAUSE + 4, 0)],
        [(1, PAUSE, 0), (0, 0, PAUSE + 4)],
        [(0, 0, PAUSE), (1, PAUSE, 0), (0, 0, PAUSE + 4)],
        [(0, 0, PAUSE), (0, 0, PAUSE + 4), (1, PAUSE, 0)],
    ],
)
def test_a_pause_of_the_capture_is_a_hole(behind, tmp_path):
    """What comes behind it is borne out by the next packet, or spoken against by none."""
    wire = Wire().open().say(1, 0, b"hello").say(0, 0, acked=5)
    for side, offset, acked in behind:
        wire.say(side, offset, b"more" if side else b"", acked=acked)
    seen = wire.watched(tmp_path)
    assert seen.only(Kind.GAP)[:3] == (1, 5, PAUSE - 5)
    assert Kind.ACK_OF_UNSENT not in seen.kinds
    said = max(5, *(acked for _, _, acked in behind))
    sent = sum(4 for side, _, _ in behind if side)
    side = seen.summary.sides[1]
    assert (side.acked, side.gap_bytes, side.payload) == (said, PAUSE - 5, 5 + sent)
    assert side.seen_unacked == (PAUSE + sent - said if said > 5 else sent)


def test_a_syn_with_data(tmp_path):
    wire = Wire().say(0, -1, b"early", flags=SYN)
    assert wire.watched(tmp_path).only(Kind.SYN_WITH_DATA)[:3] == (0, 0, 5)


def test_the_sequence_number_wraps(tmp_path):
    wire = Wire(isn=(1000, 2**32 - 4)).open().say(1, 0, b"hello").say(1, 5, b"world")
    seen = wire.watched(tmp_path)
    assert seen.only(Kind.SEQUENCE_WRAP)[:2] == (1, 0)
    assert seen.data(1) == b"helloworld"


def test_a_port_used_again(tmp_path):
    wire = Wire().open().say(0, 0, b"hello").close((5, 0))
    second = Wire(isn=(9_000_000, 9_000_000)).open()
    wire.frames += [(frame, ts + 10**10) for frame, ts in second.frames]
    assert wire.watched(tmp_path).only(Kind.PORT_REUSE) == (0, -1, 0, {"flows_before": 1})


def test_a_port_used_again_by_the_other_end(tmp_path):
    """The row has the direction of its frame."""
    wire = Wire().open().close()
    second = Wire(isn=(9_000_000, 9_000_000)).say(1, -1, flags=SYN)
    wire.frames += [(frame, ts + 10**10) for frame, ts in second.frames]
    assert wire.watched(tmp_path).only(Kind.PORT_REUSE)[0] == 1


def test_the_way_of_the_packets_changes(tmp_path):
    wire = Wire().open().say(1, 0, b"world", ttl=57)
    seen = wire.watched(tmp_path)
    assert seen.only(Kind.TTL_CHANGE) == (1, -1, 0, {"before": 64, "after": 57})
    assert (seen.summary.sides[1].ttl_least, seen.summary.sides[1].ttl_most) == (57, 64)
    wire = Wire().open().say(1, 0, b"world")
    frame, ts = wire.frames[-1]
    wire.frames[-1] = (frame[:6] + bytes.fromhex("0200000000ff") + frame[12:], ts)
    assert wire.watched(tmp_path).only(Kind.MAC_CHANGE)[3] == {
        "before": 0x02000000000A,
        "after": 0x0200000000FF,
    }


def test_the_identification_jumps(tmp_path):
    wire = Wire().open()
    for i in range(20):
        wire.say(1, i, b"x", ip_id=100 + i)
    seen = wire.say(1, 20, b"x", ip_id=40_000).watched(tmp_path)
    assert seen.only(Kind.IP_ID_JUMP)[3] == {"before": 119, "after": 40_000}


def test_a_frame_captured_twice_is_no_retransmission_by_the_sender(tmp_path):
    wire = Wire().open().say(1, 0, b"world")
    wire.frames.append((wire.frames[-1][0], wire.frames[-1][1] + 10))
    seen = wire.watched(tmp_path)
    assert seen.only(Kind.DUPLICATE_FRAME) == (1, -1, 5, {"ip_id": 4})
    assert seen.kinds == [Kind.DUPLICATE_FRAME, Kind.END_NOT_CAPTURED]
    side = seen.summary.sides[1]
    assert (side.packets, side.retransmitted, side.retransmitted_bytes) == (3, 0, 0)


def test_a_handshake_captured_twice_takes_as_long(tmp_path):
    wire = Wire().open()
    wire.frames = [(frame, ts + late) for frame, ts in wire.frames for late in (0, 10)]
    assert wire.watched(tmp_path).summary.rtt == 2 * MS


def test_one_identification_for_all_packets_tells_none_apart(tmp_path):
    """Hosts may do so where nothing may be fragmented [RFC 6864 4.1]: here the segment was sent again."""
    wire = Wire().open().say(1, 0, b"hello", ip_id=7).say(1, 5, b"world", ip_id=7)
    seen = wire.say(1, 5, b"world", ip_id=7).watched(tmp_path)
    assert seen.kinds == [Kind.RETRANSMISSION, Kind.END_NOT_CAPTURED]


def test_a_frame_cut_by_the_snapshot_length(tmp_path):
    seen = Wire().open().say(1, 0, b"x" * 500).say(1, 500, b"y").watched(tmp_path, snaplen=100)
    assert seen.only(Kind.SNAPLEN_CUT)[:3] == (1, 46, 454)


def test_one_side_only(tmp_path):
    wire = Wire()
    wire.say(1, 0, b"world").say(1, 5, b"again")
    seen = wire.watched(tmp_path)
    assert seen.only(Kind.ONE_SIDED)[0] == 0
    assert {Kind.START_NOT_CAPTURED, Kind.END_NOT_CAPTURED} <= set(seen.kinds)
    side = seen.summary.sides[1]
    assert (side.acked, side.acked_unseen, side.seen_unacked) == (None, None, None)
    assert seen.summary.began == "in the middle"
    assert {int(r["direction"]) for r in seen.rows if r["kind"] != Kind.ONE_SIDED} == {1}


def test_acknowledgements_alone_tell_what_was_delivered(tmp_path):
    """A tap in the client's direction: nothing of the server's was captured, and what it said was taken."""
    wire = Wire().say(0, -1, flags=SYN).say(0, 0).say(0, 0, b"play").say(0, 4, acked=5000)
    seen = wire.watched(tmp_path)
    assert seen.only(Kind.ACKED_UNSEEN)[:3] == (1, 0, 5000)
    assert Kind.START_NOT_CAPTURED not in seen.kinds
    side = seen.summary.sides[1]
    assert (side.packets, side.acked, side.acked_unseen, side.seen_unacked) == (0, 5000, 5000, 0)


def test_what_was_acknowledged_first_is_presumed_only_until_it_is_known(tmp_path):
    """The server's first segment comes later than acknowledgements of what it said before."""
    wire = Wire().say(0, 0, acked=0).say(0, 0, acked=100)
    for offset in range(100, 200, 20):
        wire.say(1, offset, b"x" * 20)
    side = wire.say(0, 0, acked=180).watched(tmp_path, capacity=2).summary.sides[1]
    assert (side.acked, side.acked_unseen, side.seen_unacked) == (80, 0, 20)


def test_a_refused_connection_began_in_the_capture(tmp_path):
    wire = Wire().say(0, -1, flags=SYN).say(1, -1001 - 499_000, flags=RST | ACK)
    seen = wire.watched(tmp_path)
    assert seen.kinds == []
    assert (seen.summary.began, seen.summary.ended) == ("half a handshake", "reset")


def test_datagrams(tmp_path):
    """Counted, and their checksums looked at."""
    frames = [(udp_frame(SERVER, CLIENT, 1755, 7000, b"x" * 20), n) for n in (1, 2)]
    spoilt = bytearray(frames[0][0])
    spoilt[50] ^= 1
    path = tmp_path / "udp.pcap"
    path.write_bytes(pcap_bytes([*frames, (bytes(spoilt), 3)], nanosecond=True))
    seen = watched(path)
    (side,) = [s for s in seen.summary.sides if s.packets]
    assert (side.packets, side.payload, side.checksums_bad) == (3, 60, 1)
    assert seen.kinds == [Kind.BAD_CHECKSUM]
    assert seen.summary.ended == "datagram"


def test_checks_have_names():
    assert [c.name for c in Check] == ["UNKNOWN", "GOOD", "OFFLOADED", "BAD"]


@given(st.data())
def test_any_order_of_a_known_stream(tmp_path_factory, data):
    """Whatever is dropped, repeated and shuffled: the holes told are those of the reassembly, and the counts
    of bytes on both sides of them add up."""
    size = data.draw(st.integers(1, 60))
    stream = bytes(range(size))
    segments = data.draw(
        st.lists(st.tuples(st.integers(0, size - 1), st.integers(1, 12)), min_size=1, max_size=25)
    )
    wire = Wire().open()
    for offset, length in segments:
        wire.say(1, offset, stream[offset : offset + length])
    covered = {b for offset, length in segments for b in range(offset, min(offset + length, size))}
    acked = data.draw(st.integers(0, max(covered) + 1))
    seen = wire.say(0, 0, acked=acked).watched(tmp_path_factory.mktemp("wire"))
    told = np.sort(seen.rows[seen.rows["kind"] == Kind.GAP], order="offset")
    holes = {b for row in told for b in range(row["offset"], row["offset"] + row["size"])}
    top = max(covered) + 1
    assert holes == set(range(top)) - covered
    side = seen.summary.sides[1]
    assert side.acked_unseen == len([b for b in holes if b < acked])
    assert side.seen_unacked == len([b for b in covered if b >= acked])
    assert not any(isinstance(i, Conflict) for i in seen.items[1])


def test_first_and_last_time_are_those_of_the_first_and_last_frame(tmp_path):
    wire = Wire().open()
    wire.say(0, 0, b"GET / HTTP/1.0\r\n\r\n")
    wire.now -= 50 * MS  # a clock that is set back
    summary = wire.close((18, 0)).watched(tmp_path).summary
    times = [ts for _, ts in wire.frames]
    assert (summary.first_frame, summary.first_ts) == (1, times[0])
    assert (summary.last_frame, summary.last_ts) == (len(times), times[-1])
