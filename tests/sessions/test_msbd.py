"""Encoder distribution: conversations written from the specification, over TCP and with a multicast."""

from __future__ import annotations

import hashlib

import pytest
from builders import write_pcap
from cases import events, rows
from peers import msb_sender as sender
from peers.asf_file import AsfFile
from peers.media import make_asf
from peers.recorder import frames_of
from test_msb import deep, details, files, interleaved, told

import mmsforensics

ENCODER = ("192.0.2.10", 7007)
GROUP = ("239.1.2.3", 5004)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = make_asf(tmp_path_factory.mktemp("media") / "film.wmv", title="Film", packet_size=1400)
    return AsfFile.read(path)


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    path = make_asf(tmp_path_factory.mktemp("media") / "song.wma", video=False, title="Song", packet_size=508)
    return AsfFile.read(path)


@pytest.fixture
def heard(tmp_path):
    """Analyse frames."""

    def analyze(frames):
        return mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", frames)], out=tmp_path / "case")

    return analyze


@pytest.mark.parametrize("port", [7007, 4711])
@pytest.mark.parametrize("span", [10, 0])
def test_a_stream_is_recovered_byte_for_byte_on_any_port(film, heard, port, span):
    sent = sender.entry(film, 0x12, span=span, strip=False)
    frames = frames_of(sender.session([sent], [film], ping=True), server=(ENCODER[0], port))
    case = heard(frames)
    assert files(case) == [sender.faithful(film.header, film.packet_size, sent)]
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["outcome"]) == ("msbd", "completed")
    assert session["url"] == "msbd://192.0.2.10" + ("" if port == 7007 else ":4711") + "/"
    (medium,) = rows(case, "media", kind="faithful")
    assert (medium["verdict"], medium["header_from"]) == ("complete", None)
    assert {
        "MSB_MSG_REQ_CONNECT",
        "MSB_MSG_RES_CONNECT",
        "MSB_MSG_IND_STREAMINFO",
        "MSB_MSG_REQ_PING",
        "MSB_MSG_RES_PING",
        "MSB_MSG_IND_EOS",
    } <= set(events(case))
    (flow,) = rows(case, "flows")
    assert (flow["recognised_as"], flow["client_ip"]) == ("msbd", "192.0.2.20")
    assert deep(case) == []


def test_the_messages_say_what_was_sent(film, heard):
    case = heard(frames_of(sender.session([sender.entry(film, 0x12)], [film]), server=ENCODER))
    (asked,) = details(case, "MSB_MSG_REQ_CONNECT")
    assert (asked["dwFlags"], asked["szChannel"], asked["wVersion"]) == (1, "NetShow", 0x0106)
    info, empty = details(case, "MSB_MSG_IND_STREAMINFO")
    assert (info["wStreamId"], info["cbPacketSize"], info["title"]) == (0x12, 1400, "Live")
    assert (info["cTotalPackets"], info["cbHeader"]) == (len(film.packets), len(film.header))
    assert (empty["hr"], empty["cbHeader"]) == (0xC00D0033, 0)


def test_entries_of_a_playlist_are_media_of_one_session(film, song, heard):
    sent = sender.entry(film, 0x12), sender.entry(song, 0x8012, first_id=500)
    case = heard(frames_of(sender.session(sent, (film, song)), server=ENCODER))
    assert files(case) == [
        sender.faithful(film.header, film.packet_size, sent[0]),
        sender.faithful(song.header, song.packet_size, sent[1]),
    ]
    assert len(rows(case, "sessions")) == 1


def test_stream_info_asked_for_again_begins_nothing_new(film, heard):
    sent = sender.entry(film, 0x12)
    conversation = sender.session([sent], [film])
    again = sender.stream_info(0x12, film.header, packet_size=1400, mid=4)
    conversation[20:20] = [("c", sender.REQ_STREAMINFO), ("s", again)]
    case = heard(frames_of(conversation, server=ENCODER))
    assert files(case) == [sender.faithful(film.header, film.packet_size, sent)]
    assert {"MSB_MSG_REQ_STREAMINFO", "MSB_MSG_RES_STREAMINFO"} <= set(events(case))


@pytest.mark.parametrize("hr", [0xC00D001A, 0x80070057])
def test_a_refusal_is_named(heard, hr):
    conversation = [("c", sender.req_connect(sender.MULTICAST)), ("s", sender.res_connect(hr=hr))]
    (session,) = rows(heard(frames_of(conversation, server=ENCODER)), "sessions")
    assert session["outcome"].startswith("failed: ")
    assert "0x" not in session["outcome"]


def test_a_header_whose_packets_never_came_is_kept(film, heard):
    conversation = sender.session([sender.entry(film, 0x12)], [film])[:3]
    case = heard(frames_of(conversation, server=ENCODER))
    assert files(case, "header") == [film.header]


def test_an_unknown_message_is_told_by_its_number(film, heard):
    conversation = sender.session([sender.entry(film, 0x12)], [film])
    conversation.insert(5, ("s", sender.message(0x42, b"what?")))
    case = heard(frames_of(conversation, server=ENCODER))
    assert "MSB_MSG_wMessageId 0x0042" in events(case)
    assert files(case) == [sender.faithful(film.header, film.packet_size, sender.entry(film, 0x12))]


@pytest.mark.parametrize("lost", range(3))
def test_a_hole_costs_the_packets_in_it_and_parity_heals_one(film, heard, lost):
    """A segment that was not captured: what it cut is lost, what follows is found again."""
    sent = sender.entry(film, 0x12)
    frames = frames_of(sender.session([sent], [film]), server=ENCODER)
    full = [i for i, (frame, _) in enumerate(frames) if len(frame) > 1000]
    at = full[15 + lost]
    case = heard(frames[:at] + frames[at + 1 :])
    (session,) = rows(case, "sessions")
    assert session["gap_bytes"] > 1000
    assert 1 <= session["packets_missing"] <= 2
    (medium,) = files(case)
    whole = sender.faithful(film.header, film.packet_size, sent)
    assert len(whole) - len(medium) == session["packets_missing"] * film.packet_size
    by_id = {s.packet_id: hashlib.sha256(s.asf).hexdigest() for s in sender.media(sent)}
    restored = {r["packet_number"]: r["sha256"] for r in rows(case, "restored")}
    assert restored == {n: by_id[n] for n in restored}
    assert len(restored) == (session["packets_missing"] == 1)
    assert deep(case) == []


def test_from_the_middle_the_packets_are_recovered_without_their_header(film, heard):
    sent = sender.entry(film, 0x12)
    frames = frames_of(sender.session([sent], [film]), server=ENCODER)
    case = heard(frames[60:])
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["client_ip"]) == ("msbd", "192.0.2.20")
    (medium,) = files(case, "packets")
    assert b"".join(s.asf for s in sender.media(sent)).endswith(medium)
    assert len(medium) > 40 * 1000


def multicast_session(film, sent, *, start_ns=sender.START):
    conversation = [
        ("c", sender.req_connect(sender.MULTICAST)),
        ("s", sender.res_connect(group=GROUP)),
        ("s", sender.stream_info(sent[0].stream_id, film.header, packet_size=film.packet_size)),
        ("s", sender.END, start_ns + 10**11),
        ("s", sender.EMPTY_STREAM_INFO),
    ]
    return frames_of(conversation, server=ENCODER, start_ns=start_ns)


@pytest.mark.parametrize("lost", [(), (7, 31)])
def test_a_multicast_is_the_media_of_the_session_that_was_told_of_it(film, heard, lost):
    sent = sender.entry(film, 0x12, strip=False)
    arrived = [s for i, s in enumerate(sent) if i not in lost]
    frames = interleaved(
        multicast_session(film, sent),
        sender.frames([s.message for s in arrived], group=GROUP, start_ns=sender.START + 10**8),
    )
    case = heard(frames)
    assert files(case) == [sender.faithful(film.header, film.packet_size, arrived)]
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["outcome"]) == ("msbd", "completed")
    assert session["packets_missing"] == len(lost)
    assert len({r["packet_number"] for r in rows(case, "restored")}) == len(lost)
    assert [sorted(f["session_ids"]) for f in rows(case, "flows")] == [[session["session_id"]]] * 2
    (answer,) = details(case, "MSB_MSG_RES_CONNECT")
    assert (answer["sin_addr"], answer["sin_port"], answer["sin_family"]) == (*GROUP, 2)
    assert deep(case) == []


def test_a_multicast_alone_is_a_session_without_header(film, heard):
    sent = sender.entry(film, 0x12)
    case = heard(sender.frames([s.message for s in sent], group=GROUP))
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["client_ip"]) == ("msbd", GROUP[0])
    assert session["outcome"] == "end not seen"
    assert files(case, "packets") == [b"".join(s.asf for s in sender.media(sent))]


@pytest.mark.parametrize(
    "numbers", [lambda i: 0, lambda i: 1000 - i, lambda i: 7 * i % 30], ids=["one", "down", "any"]
)
def test_packets_are_kept_over_tcp_whatever_their_numbers_say(film, heard, numbers):
    sent = [
        sender.Sent(numbers(i), 0x12, s.asf)
        for i, s in enumerate(sender.entry(film, 0x12, span=0, packets=25))
    ]
    case = heard(frames_of(sender.session([sent], [film]), server=ENCODER))
    kept = b"".join(file[len(film.header) :] for file in files(case))
    assert kept == sender.faithful(b"", film.packet_size, sent)
    assert deep(case) == []


def test_the_header_is_in_a_station_file_where_the_server_says_so(film, tmp_path):
    sent = sender.entry(film, 0x12)
    conversation = [
        ("c", sender.req_connect(sender.MULTICAST)),
        ("s", sender.res_connect(flags=2, group=GROUP)),
        ("s", sender.stream_info(0x12, packet_size=film.packet_size)),
    ]
    frames = interleaved(
        frames_of(conversation, server=ENCODER),
        sender.frames([s.message for s in sent], group=GROUP, start_ns=sender.START + 10**8),
    )
    nsc = tmp_path / "station.nsc"
    nsc.write_bytes(sender.station_file([(0x12, film.header)], group=GROUP))
    case = mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", frames), nsc], out=tmp_path / "case")
    assert files(case) == [sender.faithful(film.header, film.packet_size, sent)]
    assert [s["transport"] for s in rows(case, "sessions")] == ["msbd"]


def test_two_clients_of_one_multicast_have_its_media_once(film, heard):
    sent = sender.entry(film, 0x12)
    one = multicast_session(film, sent)
    frames = frames_of(
        [("c", sender.req_connect(sender.MULTICAST)), ("s", sender.res_connect(group=GROUP))],
        server=ENCODER,
        client=("192.0.2.21", 40002),
        start_ns=sender.START + 10**7,
    )
    multicast = sender.frames([s.message for s in sent], group=GROUP, start_ns=sender.START + 10**8)
    case = heard(interleaved(one, frames, multicast))
    assert len(rows(case, "sessions")) == 2
    assert files(case) == [sender.faithful(film.header, film.packet_size, sent)]
    assert told(case, "FirstMediaPacket")
