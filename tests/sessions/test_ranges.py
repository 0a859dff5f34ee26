"""Downloads that come in several responses: the file as downloaded, whatever way it came."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import numpy as np
import pytest
from builders import write_pcap
from cases import events, faithful_files, rows
from hypothesis import given
from hypothesis import strategies as st
from peers.asf_file import AsfFile
from peers.range_server import part, parts, request, whole
from peers.recorder import START, frames_of, hung_up

import mmsforensics
from mmsforensics.protocols.messages import At, Body
from mmsforensics.sessions import fetching
from mmsforensics.sessions.assembly import Assembly, add_range, length_within
from mmsforensics.sessions.inflating import Inflated
from mmsforensics.streams import PIECE

SECOND = 10**9
WEB = ("192.0.2.80", 80)


def connection(*messages, port=40001, at=0.0, client="192.0.2.20"):
    sides = [("c" if i % 2 == 0 else "s", m) for i, m in enumerate(messages)]
    return frames_of(sides, client=(client, port), server=WEB, start_ns=START + int(at * SECOND))


@pytest.fixture
def fetched(tmp_path):
    """Analyse connections, side by side or one after the other; every case is verified deeply."""

    def analyze(*connections):
        frames = sorted((f for c in connections for f in c), key=lambda f: f[1])
        case = mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", frames)], out=tmp_path / "case")
        assert [c.message for c in mmsforensics.verify(case, deep=True) if not c.ok] == []
        carried = {s for flow in rows(case, "flows") for s in flow["session_ids"]}
        assert carried == {s["session_id"] for s in rows(case, "sessions")}
        return case

    return analyze


@pytest.fixture(scope="module")
def body(film):
    return Path(film).read_bytes()


def the_file(case, body):
    """The one medium, which must be whole."""
    assert faithful_files(case) == [body]
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["outcome"], session["packets_missing"]) == ("http", "completed", 0)
    (medium,) = rows(case, "media", kind="faithful")
    assert (medium["complete"], medium["verdict"]) == (True, "complete")
    assert medium["packets"] == len(AsfFile.parse(body).packets) == session["packets_received"]
    return session


def test_one_range_that_is_everything(body, fetched):
    the_file(fetched(connection(request("/film.wmv", ranges="0-"), part(body, 0, len(body)))), body)


def test_a_download_that_broke_off_and_was_resumed(body, fetched):
    """On another connection, an hour later, a thousand bytes sent again."""
    first = connection(request("/film.wmv"), whole(body, cut=50_000))
    more = 'If-Range: "v1"\r\n'
    second = connection(
        request("/film.wmv", ranges="49000-", more=more), part(body, 49_000, len(body)), port=40002, at=3600
    )
    case = fetched(first, second)
    the_file(case, body)
    assert events(case).count("HttpResponse") == 2
    assert "RangesDiffer" not in events(case)


def test_how_a_resumed_download_ended_says_the_connection_that_resumed_it(body, fetched):
    """The end of the first one is known last: a connection that was reset is decoded to the end."""
    first = hung_up(connection(request("/film.wmv"), whole(body, cut=50_000)), "reset")
    asked, sent = request("/film.wmv", ranges="49000-"), part(body, 49_000, len(body), cut=10_000)
    second = hung_up(connection(asked, sent, port=40002, at=60), "open")
    assert rows(fetched(first, second), "sessions")[0]["outcome"] == "capture ended"


@pytest.mark.parametrize("seed", range(3))
def test_ranges_in_any_order_that_overlap(body, fetched, seed):
    rng = random.Random(seed)
    cuts = sorted(rng.sample(range(1, len(body)), 6))
    bounds = list(zip([0, *cuts], [*cuts, len(body)], strict=True))
    rng.shuffle(bounds)
    messages = []
    for begin, end in bounds:
        begin = max(begin - rng.randrange(500), 0)
        messages += [request("/film.wmv", ranges=f"{begin}-{end - 1}"), part(body, begin, end)]
    the_file(fetched(connection(*messages)), body)


def test_ranges_on_connections_side_by_side(body, fetched):
    """As download accelerators do: the first request is for everything and is broken off."""
    third = len(body) // 3
    case = fetched(
        connection(request("/film.wmv"), whole(body, cut=third + 700)),
        connection(
            request("/film.wmv", ranges=f"{third}-"), part(body, third, len(body), cut=third), port=40002
        ),
        connection(
            request("/film.wmv", ranges=f"{2 * third}-"), part(body, 2 * third, len(body)), port=40003
        ),
    )
    the_file(case, body)
    assert len(rows(case, "flows", session_ids=["c001-s0001"])) == 3


def test_the_first_range_may_be_the_last_to_come(body, fetched):
    """Then the connections before it are over; they carried the session nevertheless."""
    half = len(body) // 2
    case = fetched(
        connection(request("/film.wmv", ranges=f"{half}-"), part(body, half, len(body))),
        connection(request("/film.wmv", ranges=f"0-{half - 1}"), part(body, 0, half), port=40002, at=9),
    )
    the_file(case, body)
    assert len(rows(case, "flows", session_ids=["c001-s0001"])) == 2


def test_several_ranges_in_one_response(body, fetched):
    half = len(body) // 2
    ranges = [(half, len(body)), (0, 700), (600, half)]
    the_file(fetched(connection(request("/film.wmv", ranges="…"), parts(body, ranges))), body)


def test_a_player_s_download_is_no_stream(body, fetched):
    """Windows Media Player says who it is to ordinary servers too."""
    asked = request("/film.wmv", ranges="0-").replace(b"wget/1.20", b"NSPlayer/12.0.7601.17514")
    session = the_file(fetched(connection(asked, part(body, 0, len(body)))), body)
    assert session["url"] == "http://www.example.com/film.wmv"


@pytest.mark.parametrize("pause", [0.001, 2, 3600])
def test_a_player_s_download_that_goes_on_elsewhere_is_one_session(body, fetched, pause):
    """The request shows the player before the response shows the file."""

    def by_player(asked):
        return asked.replace(b"wget/1.20", b"NSPlayer/12.0.7601.17514")

    first = connection(by_player(request("/film.wmv")), whole(body, cut=50_000))
    asked = by_player(request("/film.wmv", ranges="49000-"))
    case = fetched(first, connection(asked, part(body, 49_000, len(body)), port=40002, at=pause))
    the_file(case, body)


def coded(data):
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(data)
    return head + data


@pytest.mark.parametrize("pause", [0.001, 2, 3600])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_player_s_first_range_need_not_be_the_beginning(body, fetched, pause, elsewhere):
    """A session is begun by the player's request; that of the beginning is none of its own."""

    def by_player(begin, end):
        asked = request("/film.wmv", ranges=f"{begin}-{end - 1}")
        return asked.replace(b"wget/1.20", b"NSPlayer/12.0.7601.17514"), part(body, begin, end)

    half = len(body) // 2
    last, first = by_player(half, len(body)), by_player(0, half)
    if elsewhere:
        talks = [connection(*last), connection(*first, port=40002, at=pause)]
    else:
        talks = [connection(*last, *first)]
    session = the_file(fetched(*talks), body)
    assert session["client_version"] == "NSPlayer/12.0.7601.17514"


def test_a_download_with_a_content_coding_is_what_the_client_saved(body, fetched):
    """No frame holds its bytes, and its provenance says so."""
    case = fetched(connection(request("/film.wmv"), coded(gzip.compress(body))))
    the_file(case, body)
    assert {(r["kind"], r["frame"]) for r in rows(case, "provenance")} == {("decoded", None)}
    assert all(r["frame"] for r in rows(case, "media_packets"))


def test_behind_a_hole_nothing_can_be_decoded(body, fetched):
    frames = connection(request("/film.wmv"), coded(gzip.compress(body)))
    big = [i for i, (frame, _) in enumerate(frames) if len(frame) > 1400]
    del frames[big[len(big) // 2]]
    case = fetched(frames)
    (got,) = faithful_files(case)
    assert body.startswith(got) and len(got) > 1000
    (medium,) = rows(case, "media", kind="faithful")
    assert (medium["complete"], medium["verdict"]) == (False, "partial")


def test_what_is_coded_and_no_windows_media_leaves_no_trace(fetched):
    case = fetched(connection(request("/film.wmv"), coded(gzip.compress(bytes(50_000)))))
    assert rows(case, "sessions") == []


def test_a_range_again_of_a_file_that_is_whole_is_a_repetition(body, fetched):
    viewing = [request("/film.wmv", ranges="0-"), part(body, 0, len(body))]
    again = [request("/film.wmv", ranges="50000-"), part(body, 50_000, len(body))]
    case = fetched(connection(*viewing, *again))
    the_file(case, body)
    assert events(case).count("HttpResponse") == 2


def test_a_part_that_nobody_asked_for_is_not_said_to_be_lost(body, fetched):
    asf = AsfFile.parse(body)
    begin = len(asf.header) + 10 * asf.packet_size
    end = begin + 5 * asf.packet_size
    case = fetched(
        connection(
            request("/film.wmv", ranges=f"0-{begin - 1}"),
            part(body, 0, begin),
            request("/film.wmv", ranges=f"{end}-"),
            part(body, end, len(body)),
        )
    )
    (got,) = faithful_files(case)
    assert got.startswith(body[:begin])
    (medium,) = rows(case, "media", kind="faithful")
    assert (medium["complete"], medium["packets_missing"]) == (False, 5)
    reasons = {r["reason"]: r["count"] for r in rows(case, "verdicts")}
    assert reasons["not asked for"] == end - begin
    assert "hole" not in reasons


def test_a_hole_in_a_range_stays_a_hole(body, fetched):
    frames = connection(request("/film.wmv", ranges="0-"), part(body, 0, len(body)))
    big = [i for i, (frame, _) in enumerate(frames) if len(frame) > 1400]
    del frames[big[len(big) // 2]]
    case = fetched(frames)
    (medium,) = rows(case, "media", kind="faithful")
    assert medium["packets_missing"] >= 1
    assert medium["verdict"].startswith("complete but for")
    assert "hole" in {r["reason"] for r in rows(case, "verdicts")}


def with_a_hole(body, **options):
    """A download of everything of which one segment was not captured; where that is in the file."""
    answer = whole(body)
    frames = connection(request("/film.wmv"), answer, **options)
    big = [i for i, (frame, _) in enumerate(frames) if len(frame) > 1400]
    at = len(big) // 2
    lost = 1460 * at - (len(answer) - len(body))
    del frames[big[at]]
    return frames, lost, lost + 1460


@pytest.mark.parametrize("pause", [0.5, 300])
def test_a_hole_that_a_later_range_fills(body, fetched, pause):
    """Players ask again for parts: each byte is then known from one of both."""
    frames, begin, end = with_a_hole(body)
    asked = request("/film.wmv", ranges=f"{begin - 40}-{end + 9}")
    case = fetched(frames, connection(asked, part(body, begin - 40, end + 10), port=40002, at=pause))
    the_file(case, body)
    assert len(rows(case, "flows", session_ids=["c001-s0001"])) == 2


def test_of_too_many_files_with_holes_the_oldest_waits_no_longer(body, fetched, monkeypatch):
    monkeypatch.setattr(fetching, "MOST_HELD", 1)
    talks = []
    for number in (20, 21):
        for at, (begin, end) in enumerate([(0, 30_000), (50_000, len(body)), (30_000, 50_000)]):
            asked = request("/film.wmv", ranges=f"{begin}-{end - 1}"), part(body, begin, end)
            client = f"192.0.2.{number}"
            talks.append(connection(*asked, port=40001 + at, at=9 * at + number / 10, client=client))
    case = fetched(*talks)
    assert [m["complete"] for m in rows(case, "media", kind="faithful")] == [False, True]


def test_a_hole_that_a_later_range_fills_in_part(body, fetched):
    frames, begin, end = with_a_hole(body)
    asked = request("/film.wmv", ranges=f"{begin}-{end - 101}")
    case = fetched(frames, connection(asked, part(body, begin, end - 100), port=40002, at=2))
    (medium,) = rows(case, "media", kind="faithful")
    assert (medium["packets_missing"], medium["complete"]) == (1, False)
    holes = [r["count"] for r in rows(case, "verdicts", reason="hole")]
    assert holes == [100]


def test_a_second_viewing_fills_no_hole_of_the_first(body, fetched):
    frames, _, _ = with_a_hole(body)
    again = connection(request("/film.wmv", ranges="0-"), part(body, 0, len(body)), port=40002, at=100)
    case = fetched(frames, again)
    whole_, hurt = faithful_files(case)
    assert len(hurt) < len(whole_)
    assert whole_ == body
    told = {m["session_id"]: m["complete"] for m in rows(case, "media", kind="faithful")}
    assert told == {"c001-s0001": False, "c001-s0002": True}
    assert [s["outcome"] for s in rows(case, "sessions")] == ["completed", "completed"]


def test_another_version_of_the_file_is_another_medium(body, fetched):
    other = bytearray(body)
    other[-1] ^= 0xFF
    first = connection(request("/film.wmv"), whole(body, cut=50_000))
    more = 'If-Range: "v1"\r\n'
    second = connection(
        request("/film.wmv", ranges="50000-", more=more), whole(bytes(other), etag='"v2"'), port=40002, at=5
    )
    case = fetched(first, second)
    part_, whole_ = faithful_files(case)
    assert (body.startswith(part_), whole_) == (True, bytes(other))
    assert len(rows(case, "sessions")) == 1


def test_a_range_of_another_version_is_not_mixed_in(body, fetched):
    first = connection(request("/film.wmv"), whole(body, cut=50_000))
    second = connection(
        request("/film.wmv", ranges="50000-"), part(body, 50_000, len(body), etag='"v2"'), port=40002
    )
    case = fetched(first, second)
    (got,) = faithful_files(case)
    assert body.startswith(got) and len(got) <= 50_000
    (packets,) = rows(case, "media", kind="packets")
    assert packets["packets"] > 0


def test_a_second_viewing_is_a_session_of_its_own(body, fetched):
    viewing = [request("/film.wmv", ranges="0-"), part(body, 0, len(body))]
    case = fetched(connection(*viewing), connection(*viewing, port=40002, at=100))
    assert faithful_files(case) == [body, body]
    assert len(rows(case, "sessions")) == len(rows(case, "viewings")) == 2


def test_bytes_sent_twice_that_differ_are_told(body, fetched):
    other = bytearray(body)
    other[49_500] ^= 0xFF
    case = fetched(
        connection(
            request("/film.wmv", ranges="0-49999"),
            part(body, 0, 50_000),
            request("/film.wmv", ranges="49000-"),
            part(bytes(other), 49_000, len(body)),
        )
    )
    the_file(case, body)
    (event,) = rows(case, "events", event="RangesDiffer")
    assert '"differing": 1' in event["details"]


def test_a_range_without_the_beginning_gives_its_packets(body, fetched):
    asf = AsfFile.parse(body)
    begin = len(asf.header) + 20 * asf.packet_size - 17
    case = fetched(connection(request("/film.wmv", ranges=f"{begin}-"), part(body, begin, len(body))))
    (medium,) = rows(case, "media", kind="packets")
    assert (case.path / medium["path"]).read_bytes() == b"".join(asf.packets[20:])


@pytest.mark.parametrize(
    "messages",
    [
        (request("/film.wmv", ranges="5000-"), part(bytes(20_000), 5000, 20_000)),
        (request("/film.wmv", ranges="0-"), part(b"\x89PNG" + bytes(20_000), 0, 20_000)),
        (
            request("/a.zip", ranges="0-"),
            part(b"$D" + bytes(20_000), 0, 20_000, media_type="application/zip"),
        ),
        (request("/film.wmv", method="HEAD"), whole(bytes(500), cut=0)),
        (
            request("/film.wmv", ranges="900-"),
            b"HTTP/1.1 416 x\r\nContent-Range: bytes */500\r\nContent-Length: 0\r\n\r\n",
        ),
    ],
    ids=["zeros", "a picture", "looks framed", "HEAD", "not satisfiable"],
)
def test_what_is_no_windows_media_leaves_no_trace(fetched, messages):
    case = fetched(connection(*messages))
    assert rows(case, "sessions") == rows(case, "media") == rows(case, "events") == []


def test_a_body_that_grows_beyond_measure_is_decoded_no_further(body):
    bomb = gzip.compress(body + bytes(200 << 20), 9)
    at = At(direction="server", offset=0, frame=1, ts=0)
    pieces = np.zeros(1, dtype=PIECE)
    pieces["length"] = len(bomb)
    whole_ = Body(at=at, number=0, offset=0, data=np.frombuffer(bomb, dtype=np.uint8), pieces=pieces)
    inflated = Inflated("gzip")
    assert sum(len(b.data) for b in inflated.feed(whole_)) <= 64 * len(bomb) + (2 << 20)
    assert inflated.broken and not inflated.whole


@given(st.binary(max_size=200), st.integers(0, 200), st.sampled_from(["gzip", "deflate"]))
def test_no_coded_bytes_harm(data, cut, coding):
    source = np.frombuffer(gzip.compress(b"x" * 500)[:cut] + data, dtype=np.uint8)
    if len(source):
        list(Inflated(coding).feed(stretch(source, 0, len(source))))


# --- the pieces of it --------------------------------------------------------------------------------


def stretch(source, begin, end):
    pieces = np.zeros(1, dtype=PIECE)
    pieces["offset"], pieces["length"], pieces["frame"], pieces["frame_offset"] = begin, end - begin, 1, begin
    at = At(direction="server", offset=0, frame=1, ts=0)
    return Body(at=at, number=0, offset=begin, data=source[begin:end], pieces=pieces)


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 30), st.booleans()), max_size=20))
def test_whatever_comes_is_handed_on_once_and_in_order(stretches):
    source = np.arange(120, dtype=np.uint8)
    assembly = Assembly()
    given_ = set()
    handed = []
    for begin, size, jump in stretches:
        handed += assembly.add(stretch(source, begin, begin + size), jump=jump)
        given_.update(range(begin, begin + size))
    handed += assembly.finish()
    at = 0
    for item in handed:
        assert item.offset >= at
        assert (item.data == source[item.offset : item.offset + len(item.data)]).all()
        assert item.pieces["length"].sum() == len(item.data)
        assert (item.pieces["frame_offset"] == item.pieces["offset"]).all()
        at = item.offset + len(item.data)
    if not any(jump for *_, jump in stretches):
        assert {o for item in handed for o in range(item.offset, item.offset + len(item.data))} == given_
    assert assembly.differing == 0


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=12),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_ranges_are_sets(stretches, low, high):
    ranges = []
    for begin, size in stretches:
        add_range(ranges, begin, begin + size)
    held = {n for begin, size in stretches for n in range(begin, begin + size)}
    assert {n for begin, end in ranges for n in range(begin, end)} == held
    assert length_within(ranges, low, high) == len(held & set(range(low, high)))
