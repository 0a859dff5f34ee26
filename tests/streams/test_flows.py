"""Which flows are kept: by what they carry, on any port; whole, from their first packet on."""

import random

import numpy as np
import pytest
from builders import ACK, FIN, PSH, RST, SYN, tcp_frame, udp_frame, write_pcap

from mmsforensics.evidence import open_evidence
from mmsforensics.packets import CaptureScan
from mmsforensics.streams import FlowTable
from mmsforensics.streams.signatures import SIGNATURES, by_first_bytes

A, B = "192.0.2.20", "192.0.2.10"
CONNECT = bytes.fromhex("01000000cefa0bb0 00010000 4d4d5320") + bytes(240)
"""Begin of a client's first MMS record: version, sessionId, length, seal [MS-MMSP 2.2.3]."""
PLAYER = b"GET /film HTTP/1.0\r\nUser-Agent: NSPlayer/9.0.0.2980\r\n\r\n"
BROWSER = b"GET /index.html HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: Mozilla/5.0\r\n\r\n"
TPKT = bytes.fromhex("0300001611e00000000100c0010ac1020001c2020001")
"""ISO transport: what the other MMS (Manufacturing Message Specification) begins with [RFC 1006]."""


class Talk:
    """Frames of one connection, in the order in which they are said."""

    def __init__(self, *, sport=40000, dport=5000, isn=(100, 900), src=A, dst=B):
        self.ends = [(src, sport), (dst, dport)]
        self.next = list(isn)
        self.frames = []

    def say(self, who, payload=b"", flags=ACK | PSH, mss=1460):
        """`who` (0 client, 1 server) sends bytes, in segments of `mss`."""
        for at in range(0, max(len(payload), 1), mss):
            part = payload[at : at + mss]
            (src, sport), (dst, dport) = self.ends[who], self.ends[1 - who]
            self.frames.append(
                tcp_frame(src, dst, sport, dport, self.next[who], self.next[1 - who], flags, part, pad=False)
            )
            self.next[who] += len(part) + bool(flags & (SYN | FIN))
        return self

    def open(self):
        return self.say(0, flags=SYN).say(1, flags=SYN | ACK).say(0, flags=ACK)

    def close(self):
        return self.say(0, flags=FIN | ACK).say(1, flags=FIN | ACK)


def kept(frames, tmp_path, window=None):
    """Flows that are kept, each with its packets' frame numbers and payloads; and how many flows began."""
    path = write_pcap(tmp_path / "a.pcap", [(frame, 10**18 + n * 10**6) for n, frame in enumerate(frames)])
    table, flows, begun = FlowTable(), {}, 0
    with open_evidence(path) as evidence:
        scan = CaptureScan(evidence) if window is None else CaptureScan(evidence, window=window)
        for batch in scan:
            for part in table.feed(batch):
                mine = flows.setdefault(part.flow.uid, (part.flow, []))[1]
                for row, start in zip(part.rows, part.start, strict=True):
                    payload = bytes(part.data[int(start) : int(start) + int(row["payload_len"])])
                    mine.append((int(row["frame"]), payload))
            begun += len(table.begun)
    return list(flows.values()), begun


def of_interest(frames, before=0):
    """Numbers of the frames that a flow is put together from: all of them, acknowledgements as well."""
    return [before + n for n in range(1, len(frames) + 1)]


def payload_of(packets):
    return b"".join(payload for _, payload in packets)


# --- kept ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", [1755, 80, 5000, 65535])
@pytest.mark.parametrize("first", [CONNECT, PLAYER], ids=["MMS record", "player's request"])
def test_windows_media_is_kept_on_any_port_from_its_first_frame(first, port, tmp_path):
    talk = Talk(dport=port).open().say(0, first).say(1, b"answer" * 50).close()
    ((flow, packets),), _ = kept(talk.frames, tmp_path)
    assert {frame for frame, _ in packets} >= set(of_interest(talk.frames))
    assert payload_of(packets) == first + b"answer" * 50
    assert {flow.a.port, flow.b.port} == {40000, port}
    assert (flow.proto, flow.first_frame) == (6, 1)


@pytest.mark.parametrize("mss", [1, 2, 5, 11])
def test_a_signature_cut_by_segments_is_seen(mss, tmp_path):
    talk = Talk().open().say(0, CONNECT[:40], mss=mss)
    ((_, packets),), _ = kept(talk.frames, tmp_path)
    assert payload_of(packets) == CONNECT[:40]


def test_windows_media_may_come_with_a_later_request(tmp_path):
    """A browser's connection is reused by the player; what came before is not wanted."""
    talk = Talk(dport=80).open()
    for _ in range(3):
        talk.say(0, BROWSER).say(1, b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + b"x" * 20000)
    talk.say(0, PLAYER).say(1, b"HTTP/1.0 200 OK\r\n\r\n$D")
    ((_, packets),), _ = kept(talk.frames, tmp_path)
    content = payload_of(packets)
    assert content.endswith(PLAYER + b"HTTP/1.0 200 OK\r\n\r\n$D")


def test_a_download_shows_itself_by_the_header_of_the_file(tmp_path):
    header = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(100)
    talk = Talk(dport=8080).open().say(0, BROWSER).say(1, b"HTTP/1.1 200 OK\r\n\r\n" + header)
    ((_, packets),), _ = kept(talk.frames, tmp_path)
    assert payload_of(packets).startswith(BROWSER)


def test_the_registered_port_is_kept_without_a_signature(tmp_path):
    """A capture that begins in the middle may show none."""
    talk = Talk(dport=1755).say(1, bytes(range(200)) * 3)
    ((_, packets),), _ = kept(talk.frames, tmp_path)
    assert payload_of(packets) == bytes(range(200)) * 3


def test_both_families_of_addresses(tmp_path):
    talk = Talk(src="2001:db8::20", dst="2001:db8::10").open().say(0, CONNECT)
    ((flow, _),), _ = kept(talk.frames, tmp_path)
    assert {len(flow.a.address), len(flow.b.address)} == {16}


# --- let go --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "port"),
    [
        (TPKT, 102),
        (BROWSER, 80),
        (b"\x16\x03\x01\x02\x00\x01" + bytes(500), 443),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 22),
        (random.Random(1).randbytes(9000), 5000),
    ],
    ids=["ISO MMS", "browser", "TLS", "SSH", "random"],
)
def test_other_traffic_is_let_go(first, port, tmp_path):
    talk = Talk(dport=port).open().say(0, first).say(1, random.Random(2).randbytes(9000)).close()
    flows, begun = kept(talk.frames, tmp_path)
    assert flows == []
    assert begun == 1


@pytest.mark.parametrize("size", [3000, 300_000])
def test_a_flow_without_its_beginning_is_looked_at_once(tmp_path, size):
    """It is handed on when it has shown enough, or ends, or the capture does; given up, it is let go."""
    talk = Talk().say(1, random.Random(3).randbytes(size))
    ended = Talk(sport=40001).say(1, random.Random(4).randbytes(3000)).close()
    path = write_pcap(tmp_path / "a.pcap", [(f, n) for n, f in enumerate(talk.frames + ended.frames)])
    table, seen = FlowTable(), []
    with open_evidence(path) as evidence:
        for batch in CaptureScan(evidence, window=1 << 16):
            for part in table.feed(batch):
                seen.append((part.flow.uid, len(part.rows)))
                table.give_up([part.flow.uid])
    last = [(part.flow.uid, len(part.rows)) for part in table.finish()]
    assert (0 in dict(seen)) == (size > 1 << 18)
    assert (0 in dict(last)) == (size <= 1 << 18)
    assert sum(n for uid, n in seen + last if uid == 0) <= (1 << 18) // 1460 + (1 << 16) // 1460
    assert sum(n for uid, n in seen if uid == 1) >= 3


# --- which packets belong together ---------------------------------------------------------------------


def test_a_port_used_again_is_another_flow(tmp_path):
    first = Talk(isn=(100, 900)).open().say(0, CONNECT).close()
    second = Talk(isn=(70_000, 80_000)).open().say(0, CONNECT).close()
    flows, _ = kept(first.frames + second.frames, tmp_path)
    frames = [[frame for frame, _ in packets] for _, packets in flows]
    assert frames == [of_interest(first.frames), of_interest(second.frames, before=len(first.frames))]
    assert [flow.first_frame for flow, _ in flows] == [1, len(first.frames) + 1]


def test_a_port_used_again_after_a_reset(tmp_path):
    first = Talk(isn=(100, 900)).open().say(0, CONNECT).say(1, flags=RST)
    second = Talk(isn=(70_000, 80_000)).open().say(0, b"nothing of interest")
    flows, _ = kept(first.frames + second.frames, tmp_path)
    ((_, packets),) = flows
    assert [frame for frame, _ in packets] == of_interest(first.frames)


@pytest.mark.parametrize("forger", [0, 1])
def test_a_syn_that_nobody_takes_up_leaves_the_connection_as_it_was(forger, tmp_path):
    """It gets a challenge for an answer, and the connection goes on [RFC 5961 4]."""
    talk = Talk().open().say(0, CONNECT)
    forged = [Talk(isn=isn).say(forger, flags=SYN).frames[0] for isn in ((10**9, 10**9), (7**10, 7**10))]
    talk.frames += forged
    talk.say(1 - forger, flags=ACK).say(1, b"answer").say(0, b"more").close()
    flows, begun = kept(talk.frames, tmp_path)
    assert begun == 3
    ((_, packets),) = flows
    at = talk.frames.index(forged[0]) + 1
    assert [frame for frame, _ in packets] == [n for n in of_interest(talk.frames) if n not in (at, at + 1)]


def test_a_port_used_again_whose_old_end_was_not_captured(tmp_path):
    """A late packet of the old connection, between the new one's first two, is still that of the old one."""
    first = Talk(isn=(100, 900)).open().say(0, CONNECT)
    late = Talk(isn=tuple(first.next)).say(1, b"late")
    second = Talk(isn=(10**9, 10**9)).open().say(0, CONNECT).close()
    frames = [*first.frames, second.frames[0], *late.frames, *second.frames[1:]]
    flows, _ = kept(frames, tmp_path)
    numbers = [[frame for frame, _ in packets] for _, packets in flows]
    n = len(first.frames)
    assert numbers == [[*range(1, n + 1), n + 2], [n + 1, *range(n + 3, len(frames) + 1)]]


def test_a_repeated_syn_is_the_same_flow(tmp_path):
    talk = Talk().say(0, flags=SYN)
    talk.next[0] -= 1
    talk.open().say(0, CONNECT)
    ((_, packets),), _ = kept(talk.frames, tmp_path)
    assert [frame for frame, _ in packets] == of_interest(talk.frames)


def test_flows_that_are_interleaved_do_not_mix(tmp_path):
    talks = [Talk(sport=40000 + n).open().say(0, CONNECT + bytes([n]) * 10, mss=50) for n in range(20)]
    frames = [frame for turn in zip(*(t.frames for t in talks), strict=True) for frame in turn]
    flows, _ = kept(frames, tmp_path)
    assert len(flows) == 20
    for flow, packets in flows:
        number = (flow.a.port if flow.a.port >= 40000 else flow.b.port) - 40000
        assert payload_of(packets) == CONNECT + bytes([number]) * 10


def test_windows_of_the_capture_make_no_difference(tmp_path):
    talk = Talk().open().say(0, CONNECT, mss=7).say(1, b"z" * 5000, mss=100).close()
    (one,), _ = kept(talk.frames, tmp_path)
    (other,), _ = kept(talk.frames, tmp_path, window=1 << 12)
    assert one[1] == other[1]


def test_datagrams(tmp_path):
    """A flow of datagrams on the registered port is kept, others are not."""
    media = [udp_frame(B, A, 1755, 7000, bytes([n]) * 300) for n in range(5)]
    other = [udp_frame(B, A, 53, 7001, bytes(100)) for _ in range(40)]
    flows, begun = kept(media + other, tmp_path)
    ((flow, packets),) = flows
    assert flow.proto == 17
    assert [payload[0] for _, payload in packets] == list(range(5))
    assert begun == 2


def test_a_full_table_forgets_idle_flows_but_no_wanted_one(tmp_path, monkeypatch):
    monkeypatch.setattr("mmsforensics.streams.flows.LARGEST_CAPACITY", 1 << 14)
    wanted = Talk().open().say(0, CONNECT)
    rng = np.random.default_rng(5)
    noise = [
        tcp_frame(f"10.{a}.{b}.{c}", B, int(p), 80, 1, 1, SYN, pad=False)
        for a, b, c, p in zip(
            *rng.integers(1, 255, (3, 40_000)), rng.integers(2000, 65535, 40_000), strict=True
        )
    ]
    wanted_end = Talk(isn=tuple(wanted.next)).say(1, b"the end")
    flows, begun = kept(wanted.frames + noise + wanted_end.frames, tmp_path)
    ((_, packets),) = flows
    assert payload_of(packets) == CONNECT + b"the end"
    assert begun > 39_000


def test_every_signature_is_found_by_its_first_two_bytes_in_either_case():
    ordered, firsts = by_first_bytes(SIGNATURES)
    assert sorted(ordered) == sorted(SIGNATURES)
    for signature in SIGNATURES:
        for begin in (signature[:2].lower(), signature[:2].upper()):
            start, stop = firsts[int.from_bytes(begin, "big")].tolist()
            assert signature in ordered[start:stop]
            assert all(s[:2].lower() == signature[:2].lower() for s in ordered[start:stop])
