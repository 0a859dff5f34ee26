"""MMS over UDP, from a server of the specification: what was sent comes back."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from builders import write_pcap
from cases import events, faithful_files, rows
from peers.asf_file import AsfFile, faithful
from peers.mms_client import Script, datagram, frames
from peers.mms_server import MmsOptions, resend_request

import mmsforensics


def play(film, name="film.wmv", *, port=5005, options=None):
    script = Script({name: film}, options, port=port)
    assert script.begin(name)
    script.at()
    script.play()
    script.end()
    return script


def reasons(case):
    return {r["reason"]: r for r in rows(case, "verdicts")}


def test_datagrams_in_fragments_come_back(film, analyzed, tmp_path):
    script = play(film)
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    assert faithful_files(case) == [faithful(s) for s in script.segments]
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["outcome"]) == ("mmsu", "completed")
    assert session["url"] == "mmsu://media.example.com/film.wmv"
    assert (session["packets_missing"], session["resend_requests"], session["packets_resent"]) == (0, 0, 0)
    assert rows(case, "media", kind="faithful")[0]["complete"]
    assert [c.message for c in mmsforensics.verify(case, deep=True) if not c.ok] == []


def test_packet_pairs_are_no_media(film, analyzed, tmp_path):
    script = Script({"film.wmv": film}, port=5005)
    script.begin("film.wmv", pair=0xF0F0F901)
    script.at()
    script.play()
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    assert faithful_files(case) == [faithful(s) for s in script.segments]
    told = [json.loads(e["details"])["packets"] for e in rows(case, "events", event="PacketPair")]
    assert sum(told) == 2


def test_the_header_may_come_over_tcp(film, analyzed, tmp_path):
    script = play(film, options=MmsOptions(header_over_tcp=True))
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    assert faithful_files(case) == [faithful(s) for s in script.segments]
    assert rows(case, "sessions")[0]["transport"] == "mmsu"


# --- what the client asks for again ------------------------------------------------------------------


def asking(film, *, first, then):
    """A session whose client asks, behind packet `first`, for `then` again."""
    script = Script({"film.wmv": film}, port=5005)
    script.begin("film.wmv")
    script.at()
    script.play(first)
    if then:
        script.resend(*then)
    script.play()
    return script


def test_requests_tell_what_the_client_lost_itself(film, analyzed, tmp_path):
    script = asking(film, first=30, then=(4, 11, 12))
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    assert faithful_files(case) == [faithful(s) for s in script.segments], "a copy is no packet of its own"
    (event,) = rows(case, "events", event="RequestPacketListResend")
    details = json.loads(event["details"])
    assert event["direction"] == "client"
    assert details["dwBeginPacketList"] == [4, 11, 12]
    assert (details["captured_before"], details["not_captured_before"]) == (3, 0)
    (session,) = rows(case, "sessions")
    assert (session["resend_requests"], session["packets_resent"], session["packets_missing"]) == (3, 3, 0)
    assert "3 had been captured, 0 came only then, 0 never" in reasons(case)["asked again"]["text"]
    packets = rows(case, "media_packets")
    assert session["packets_received"] == len(packets), "a copy is not received twice"
    assert session["media_bytes"] == sum(p["size"] for p in packets)


def test_packets_lost_before_the_place_of_capture_are_healed_by_their_copies(film, analyzed, tmp_path):
    script = asking(film, first=30, then=(4, 11, 12))
    lost = {1 + 4, 1 + 11}  # the first datagram is the header
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script, lost=lost)))
    assert faithful_files(case) == [faithful(s) for s in script.segments]
    (event,) = rows(case, "events", event="RequestPacketListResend")
    assert json.loads(event["details"])["not_captured_before"] == 2
    assert "1 had been captured, 2 came only then, 0 never" in reasons(case)["asked again"]["text"]


def test_requests_in_the_player_s_name_from_elsewhere_prove_nothing(film, analyzed, tmp_path):
    script = asking(film, first=30, then=())
    found = frames(script)
    forged = datagram("198.51.100.9", "192.0.2.10", 4000, 1755, resend_request([3, 4]), ip_id=9)
    place = len(found) * 2 // 3
    found.insert(place, (forged[0], found[place][1]))
    case = analyzed(write_pcap(tmp_path / "a.pcap", found))
    (event,) = rows(case, "events", event="ForeignRequest")
    assert event["summary"].startswith("198.51.100.9, which is not the player, asks for 2 packets again")
    assert rows(case, "sessions")[0]["resend_requests"] == 0
    assert rows(case, "captures")[0]["unclaimed_datagrams"] == 0


def test_packets_that_never_came_again_are_missing(film, analyzed, tmp_path):
    script = asking(film, first=30, then=(4,))
    copy = next(i for i, (side, _) in enumerate(script.conversation) if side == "C") + 1
    place = sum(side == "S" for side, _ in script.conversation[:copy])
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script, lost={1 + 4, place})))
    (session,) = rows(case, "sessions")
    assert (session["resend_requests"], session["packets_resent"], session["packets_missing"]) == (1, 0, 1)
    assert "0 came only then, 1 never" in reasons(case)["asked again"]["text"]


def test_requests_count_packets_beyond_the_wraps_of_their_numbers(long_film, analyzed, tmp_path):
    script = Script({"film.wmv": long_film}, port=5005)
    script.begin("film.wmv")
    script.at()
    script.play(600)
    script.resend(300, 590)
    script.play()
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script, lost={1 + 300, 1 + 590})))
    assert faithful_files(case) == [faithful(s) for s in script.segments]
    assert "0 had been captured, 2 came only then, 0 never" in reasons(case)["asked again"]["text"]


def test_requests_without_the_control_connection_confirm_what_the_data_are(long_film, analyzed, tmp_path):
    script = Script({"film.wmv": long_film}, port=5005)
    script.begin("film.wmv")
    script.at()
    script.play(100)
    script.resend(90, 91)
    script.play(100)
    only = [f for f in frames(script, lost={0, 1 + 90}) if f[0][23] == 17]
    case = analyzed(write_pcap(tmp_path / "a.pcap", only))
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["resend_requests"]) == ("mmsu", 2)
    assert session["packets_missing"] == 0
    (event,) = rows(case, "events", event="RequestPacketListResend")
    assert json.loads(event["details"])["captured_before"] == 1
    assert rows(case, "captures")[0]["unclaimed_datagrams"] == 0


# --- loss, wraps, seeks ------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [{255}, {254, 255, 256}, {100, 255, 511}, set(range(20, 320))])
def test_lost_datagrams_are_counted_over_the_wraps_of_the_numbers(long_film, analyzed, tmp_path, lost):
    script = play(long_film)
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script, lost={1 + n for n in lost})))
    (session,) = rows(case, "sessions")
    (segment,) = script.segments
    assert session["packets_missing"] == len(lost)
    assert session["packets_received"] == len(segment.packets) - len(lost)
    assert sum(r["packets"] for r in rows(case, "loss", stream_number=1)) == len(lost)


@pytest.mark.parametrize("keep", [False, True], ids=["a new incarnation", "the same incarnation"])
@pytest.mark.parametrize("where", [{"packet": 500}, {"packet": 3}, {"byte": 300_000}, {"seconds": 2.5}])
def test_seeks(long_film, analyzed, tmp_path, keep, where):
    script = Script({"film.wmv": long_film}, port=5005)
    script.begin("film.wmv")
    script.at()
    script.play(310)
    script.stop()
    script.at(**where, keep=keep)
    script.play()
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script, lost={1 + 40})))
    first, second = script.segments
    del first.packets[40]
    got = faithful(first) + faithful(second)[len(second.header) :]
    assert faithful_files(case) == [got]
    (session,) = rows(case, "sessions")
    assert (session["packets_missing"], session["outcome"]) == (1, "completed")


def test_a_number_left_out_where_a_play_begins_is_no_loss(long_film, analyzed, tmp_path):
    script = Script({"film.wmv": long_film}, port=5005)
    script.begin("film.wmv")
    script.at()
    script.play(255)  # numbers 0 to 0xFE: the next play begins with 0 [2.2.2]
    script.stop()
    script.at(packet=100, keep=True)
    script.play()
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script, lost={1 + 17})))
    assert rows(case, "sessions")[0]["packets_missing"] == 1


# --- which session -----------------------------------------------------------------------------------


def test_two_clients_behind_one_address(film, song, analyzed, tmp_path):
    one, two = play(film, port=5005), play(song, "song.wma", port=5006)
    both = frames(one) + frames(two, tcp_port=40002)
    case = analyzed(write_pcap(tmp_path / "a.pcap", sorted(both, key=lambda f: f[1])))
    assert sorted(faithful_files(case)) == sorted(faithful(s) for s in one.segments + two.segments)
    assert [s["packets_missing"] for s in rows(case, "sessions")] == [0, 0]


@pytest.mark.parametrize("tcp_port", [40001, 40002])
def test_sessions_of_one_client_after_another_on_the_same_ports(film, song, analyzed, tmp_path, tcp_port):
    one, two = play(film), play(song, "song.wma")
    first = frames(one)
    second = frames(two, tcp_port=tcp_port, start_ns=first[-1][1] + 2 * 10**9)
    case = analyzed(write_pcap(tmp_path / "a.pcap", first + second))
    assert faithful_files(case) == [faithful(s) for s in one.segments + two.segments]
    assert [s["outcome"] for s in rows(case, "sessions")] == ["completed", "completed"]


def test_late_data_of_a_session_are_not_the_next_one_s(film, song, analyzed, tmp_path):
    one, two = play(film), play(song, "song.wma")
    first = frames(one)
    datagrams = [f for f in first if f[0][23] == 17]
    last = datagrams[-3:]  # the fragments of the last packet
    start = first[-1][1] + 10**9
    second = frames(two, tcp_port=40002, start_ns=start)
    asks = next(
        i for i, (side, unit) in enumerate(two.conversation) if side == "c" and unit[36:38] == b"\x15\0"
    )
    late = [(frame, start + (asks + 1) * 2_000_000 + 900_000 + k) for k, (frame, _) in enumerate(last)]
    whole = sorted([f for f in first if f not in last] + second + late, key=lambda f: f[1])
    case = analyzed(write_pcap(tmp_path / "a.pcap", whole))
    assert faithful_files(case) == [faithful(s) for s in one.segments + two.segments]


def test_data_from_another_address_than_the_server_s(film, analyzed, tmp_path):
    """As where servers share the load: the client's port, and the incarnation that it asked for, tie them."""
    script = asking(film, first=30, then=())
    control = [f for f in frames(script) if f[0][23] == 6]
    data = [f for f in frames(script, server="192.0.2.99") if f[0][23] == 17]
    case = analyzed(write_pcap(tmp_path / "a.pcap", sorted(control + data, key=lambda f: f[1])))
    assert faithful_files(case) == [faithful(s) for s in script.segments]
    (session,) = rows(case, "sessions")
    assert (session["server_ip"], session["packets_missing"]) == ("192.0.2.10", 0)
    (told,) = rows(case, "events", event="OtherSender")
    assert "192.0.2.99" in told["summary"]
    assert {tuple(f["session_ids"]) for f in rows(case, "flows")} == {(session["session_id"],)}


def test_data_that_nobody_asked_for_are_not_taken_for_a_session_s(film, song, analyzed, tmp_path):
    """From elsewhere, to the port of a session whose own server sends: another session."""
    script, other = asking(film, first=30, then=()), asking(song, first=5, then=())
    data = [f for f in frames(other, server="192.0.2.99") if f[0][23] == 17]
    found = sorted(frames(script) + data, key=lambda f: f[1])
    case = analyzed(write_pcap(tmp_path / "a.pcap", found))
    assert faithful(script.segments[0]) in faithful_files(case)
    assert "OtherSender" not in events(case)


def test_the_address_in_the_funnel_s_name_is_no_address(film, analyzed, tmp_path):
    script = Script({"film.wmv": film}, port=5005)
    script.begin("film.wmv", funnel_address="10.11.12.13")
    script.at()
    script.play()
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    assert faithful_files(case) == [faithful(s) for s in script.segments]
    assert rows(case, "sessions")[0]["client_ip"] == "192.0.2.20"


def test_a_port_changed_on_the_way_is_told_by_who_got_nothing(film, analyzed, tmp_path):
    script = play(film)
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script, udp_port=6100)))
    assert faithful_files(case) == [faithful(s) for s in script.segments]
    (session,) = rows(case, "sessions")
    assert session["url"] == "mmsu://media.example.com/film.wmv"


def test_a_funnel_over_udp_that_is_refused_goes_over_tcp(film, analyzed, tmp_path):
    script = Script({"film.wmv": film}, MmsOptions(udp=False), port=5005)
    script.connect()
    script.funnel(protocol="TCP", port=1037)
    assert script.open_file("film.wmv")
    script.header()
    script.switch([1, 2])
    script.at()
    script.play()
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    assert faithful_files(case) == [faithful(s) for s in script.segments]
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["outcome"]) == ("mmst", "completed")
    assert "ReportDisconnectedFunnel" in events(case)


# --- playlists, and what overtakes what --------------------------------------------------------------


def playlist(film, song):
    script = Script({"list": [film, song]}, port=5005)
    script.begin("list")
    script.at()
    script.play()
    script.header(incarnation=2)
    script.switch([1])
    script.at()
    script.play()
    return script


def test_the_entries_of_a_playlist_are_one_medium_each(film, song, analyzed, tmp_path):
    script = playlist(film, song)
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    assert faithful_files(case) == [faithful(s) for s in script.segments]
    assert [m["complete"] for m in rows(case, "media", kind="faithful")] == [True, True]
    assert rows(case, "sessions")[0]["packets_missing"] == 0


def test_late_media_among_the_parts_of_the_next_header(film, song, analyzed, tmp_path):
    script = Script({"list": [film, song]}, MmsOptions(header_fragment=200), port=5005)
    script.begin("list")
    script.at()
    script.play()
    script.header(incarnation=2)
    script.switch([1])
    script.at()
    script.play()
    talk = script.conversation
    new = next(i for i, (s, u) in enumerate(talk) if s == "S" and u[4] == 2)
    old = max(i for i, (s, u) in enumerate(talk[:new]) if s == "S")
    talk.insert(new + 1, talk[old])
    del talk[old]
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    assert faithful_files(case) == [faithful(s) for s in script.segments]


def test_media_behind_the_next_header_are_told_and_left_out(film, song, analyzed, tmp_path):
    script = playlist(film, song)
    talk = script.conversation
    header = next(i for i, (s, u) in enumerate(talk) if s == "S" and u[4] == 2)
    old = max(i for i, (s, u) in enumerate(talk[:header]) if s == "S")
    media = next(i for i, (s, u) in enumerate(talk) if s == "S" and u[4] == script.incarnation)
    talk.insert(media + 1, talk[old])
    del talk[old]
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    first, second = script.segments
    first.packets.pop()
    assert faithful_files(case) == [faithful(first), faithful(second)]
    (late,) = rows(case, "events", event="LatePackets")
    assert json.loads(late["details"]) == {"packets": 1}
    assert [m["complete"] for m in rows(case, "media", kind="faithful")] == [False, True]


def test_the_end_may_overtake_the_last_media(film, analyzed, tmp_path):
    script = play(film)
    talk = script.conversation
    ends = next(i for i, (s, u) in enumerate(talk) if s == "s" and u[36:38] == b"\x1e\0")
    talk.insert(ends - 5, talk.pop(ends))
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    assert faithful_files(case) == [faithful(s) for s in script.segments]
    assert rows(case, "sessions")[0]["outcome"] == "completed"


# --- hostile input -----------------------------------------------------------------------------------


def test_an_absurd_bit_rate_is_told_as_it_is(song, analyzed, tmp_path):
    """Bytes per second are 32 bits, the bit rate is eight times that."""
    asf = AsfFile.read(song)
    at = asf.header.index(b"\x61\x01\x02\x00") + 8  # WAVEFORMATEX: format tag, channels, rate, bytes a second
    header = asf.header[:at] + b"\xff\xff\xff\xff" + asf.header[at + 4 :]
    script = play(replace(asf, header=header), "song.wma")
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    assert [s["bitrate"] for s in rows(case, "media_streams")] == [8 * 0xFFFFFFFF] * 2


def test_a_flood_of_requests_that_nobody_knows_of_is_counted(analyzed, tmp_path):
    forged = [resend_request([n], client_id=n) for n in range(3000)]
    found = [datagram("198.51.100.9", "192.0.2.10", 4000, 1755, f, ip_id=1)[0] for f in forged]
    case = analyzed(write_pcap(tmp_path / "a.pcap", [(f, 10**18 + i) for i, f in enumerate(found)]))
    assert rows(case, "captures")[0]["unclaimed_datagrams"] == 3000
    assert rows(case, "sessions") == []


@pytest.mark.parametrize("seed", range(6))
def test_damage_anywhere_costs_no_more_than_what_it_hurts(film, song, analyzed, tmp_path, seed):
    """Bytes changed, frames lost, copied, moved and cut: every file is as its frames say."""
    rng = random.Random(seed)
    script = playlist(film, song)
    script.resend(3, 4)
    found = frames(script)
    for _ in range(30):
        k = rng.randrange(len(found))
        frame, ts = found[k]
        kind = rng.choice(["change", "lose", "copy", "move", "cut"])
        if kind == "change" and len(frame) > 60:
            at = rng.randrange(42, len(frame))
            found[k] = frame[:at] + rng.randbytes(1) + frame[at + 1 :], ts
        elif kind == "lose":
            del found[k]
        elif kind == "copy":
            found.insert(rng.randrange(len(found)), (frame, ts))
        elif kind == "move":
            other = min(k + rng.randrange(30), len(found) - 1)
            found[k], found[other] = found[other], found[k]
        else:
            found[k] = frame[: rng.randrange(20, len(frame) + 1)], ts
    case = analyzed(write_pcap(tmp_path / "a.pcap", found))
    assert [c.message for c in mmsforensics.verify(case, deep=True) if not c.ok] == []
    received = sum(s["packets_received"] for s in rows(case, "sessions"))
    assert received > 0.5 * sum(len(s.packets) for s in script.segments)
