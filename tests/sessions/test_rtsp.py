"""Windows Media RTSP from a capture to a case: independent clients, and sessions by the specification."""

from __future__ import annotations

import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from builders import read_pcap, write_pcap
from cases import events, faithful_files, rows
from peers.asf_file import AsfFile, Segment, faithful, send_time
from peers.recorder import Recorder, frames_of, hung_up, write_conversation
from peers.rtsp_server import RtspOptions, RtspServer
from peers.rtsp_wire import (
    CLIENT,
    MEDIA_AT,
    SERVER,
    SPACING,
    URL,
    Datagram,
    Payloading,
    bye,
    closing,
    end_of_stream,
    interleaved,
    nack,
    opening,
    request,
    response,
    rtp,
    rtp_stream,
    sdp,
    sender_report,
    tcp_session,
    udp_session,
)

import mmsforensics

RTSP = 554
SSRC = 0x927717DE
ENDS = {"client": (CLIENT, 40001), "server": (SERVER, RTSP)}


def sent(asf, padding="zero-field"):
    """What a server sends of a file: LocationIds and ASF packets."""
    return [(i, asf.sent(i, padding)) for i in range(len(asf.packets))]


def truth(asf, padding="zero-field", without=()):
    """The faithful file of a whole play, but for some packets."""
    packets = [p for p in sent(asf, padding) if p[0] not in without]
    return faithful(Segment(asf.header, asf.packet_size, packets))


def sound(case):
    """Whether every recovered byte is found again in its frame."""
    assert [c for c in mmsforensics.verify(case, deep=True) if not c.ok] == []


@pytest.fixture(scope="module")
def movie(film):
    return AsfFile.read(film)


@pytest.fixture(scope="module")
def tune(song):
    return AsfFile.read(song)


def of(case):
    """The only session."""
    (session,) = rows(case, "sessions")
    return session


# --- independent clients ---------------------------------------------------------------------------


def recorded(server, recorder, path):
    """The capture of what a client and the server said, UDP included."""
    server.wait()
    recorder.wait()
    recorder.write(path)
    udp = [(d.frame(i), d.ts) for i, d in enumerate(list(server.datagrams))]
    assert not server.errors
    return write_pcap(path, sorted([*read_pcap(path), *udp], key=lambda item: item[1]))


def test_what_gstreamer_dumps_is_recovered(film, analyzed, program, tmp_path):
    """Its depayloader writes the ASF packets as they came: a dump to compare with, byte for byte."""
    dump = tmp_path / "dump.asf"
    options = RtspOptions(streams=("video",))
    with RtspServer({"film.wmv": film}, options) as server, Recorder(server.port, RTSP) as recorder:
        source = ["rtspsrc", f"location=rtsp://127.0.0.1:{recorder.port}/film.wmv", "protocols=tcp"]
        sink = ["filesink", f"location={dump}", "buffer-mode=unbuffered"]
        command = [program("gst-launch-1.0"), *source, "!", "rtpasfdepay", "!", *sink]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
            try:
                client.wait(6)
            except subprocess.TimeoutExpired:
                client.kill()
        path = recorded(server, recorder, tmp_path / "a.pcap")
        (segment,) = server.sent
    case = analyzed(path)
    assert faithful_files(case) == [dump.read_bytes()] == [faithful(segment)]
    assert of(case)["client_version"].startswith("GStreamer/")
    sound(case)


LIVE = {
    "fragments": RtspOptions(payloading=Payloading(length="counted")),
    "stripped": RtspOptions(padding="zero-field", payloading=Payloading(length="counted", size=4000)),
    "location": RtspOptions(payloading=Payloading(locid=True, relative=True)),
}


@pytest.mark.parametrize("options", LIVE.values(), ids=LIVE)
@pytest.mark.parametrize("lower", ["tcp", "udp"])
def test_what_was_sent_to_ffmpeg_is_recovered(film, analyzed, program, tmp_path, options, lower):
    """Truth is what the server sent: FFmpeg's ASF demuxer loses its place in RTP."""
    with RtspServer({"film.wmv": film}, options) as server, Recorder(server.port, RTSP) as recorder:
        url = f"rtsp://127.0.0.1:{recorder.port}/film.wmv"
        command = [program("ffmpeg"), "-v", "error", "-rtsp_transport", lower, "-i", url, "-c", "copy"]
        done = subprocess.run([*command, "-f", "null", "-"], capture_output=True, timeout=30)
        assert done.returncode == 0
        path = recorded(server, recorder, tmp_path / "a.pcap")
        (segment,) = server.sent
    case = analyzed(path)
    assert faithful_files(case) == [faithful(segment)]
    session = of(case)
    assert (session["transport"], session["packets_missing"]) == ("rtsp", 0)
    assert (session["outcome"], session["client_version"][:4]) == ("completed", "Lavf")
    sound(case)


# --- payload modes over TCP ------------------------------------------------------------------------

PAYLOADS = {
    "whole": Payloading(size=4000),
    "whole, length counts the header": Payloading(size=4000, length="counted"),
    "fragments": Payloading(size=1000),
    "several": Payloading(size=9000, several=True),
    "several, all fields": Payloading(size=9000, several=True, locid=True, relative=True, duration=True),
    "several, length counts the header": Payloading(
        size=9000, several=True, length="counted", locid=True, relative=True
    ),
    "fragments, all fields": Payloading(size=700, locid=True, relative=True, duration=True),
}


@pytest.mark.parametrize("how", PAYLOADS.values(), ids=PAYLOADS)
@pytest.mark.parametrize("merge", [False, True], ids=["segment a packet", "segments cut anywhere"])
def test_every_payload_mode_gives_what_was_sent(movie, analyzed, tmp_path, how, merge):
    stream = rtp_stream(sent(movie), how, sequence=65520)
    items = tcp_session(sdp(movie), stream, sequence=65520)
    case = analyzed(write_conversation(tmp_path / "a.pcap", items, **ENDS, merge=merge))
    assert faithful_files(case) == [truth(movie)]
    session = of(case)
    assert (session["outcome"], session["url"], session["packets_missing"]) == ("completed", URL, 0)
    assert session["client_version"] == "WMPlayer/9.0.0.2833"
    assert session["player_guid"] == "{B64345F5-8E6B-4D1E-8C59-4F8C2B9F9F7A}"
    (medium,) = rows(case, "media", kind="faithful")
    assert (medium["verdict"], medium["complete"]) == ("complete", True)
    numbers = [p["packet_number"] for p in rows(case, "media_packets")]
    assert numbers == (list(range(len(numbers))) if how.locid else [None] * len(numbers))
    sound(case)


def test_small_padded_packets_several_in_each_rtp_packet(tune, analyzed, tmp_path):
    stream = rtp_stream(sent(tune), Payloading(several=True))
    assert len(stream) < len(tune.packets)
    case = analyzed(write_conversation(tmp_path / "a.pcap", tcp_session(sdp(tune), stream), **ENDS))
    assert faithful_files(case) == [truth(tune)]
    sound(case)


@pytest.mark.parametrize("locid", [True, False], ids=["numbered", "not numbered"])
def test_a_hole_in_the_connection_costs_what_it_hurts(movie, analyzed, tmp_path, locid):
    stream = rtp_stream(sent(movie), Payloading(locid=locid))
    frames = frames_of(tcp_session(sdp(movie), stream), **ENDS)
    media = [i for i, (frame, _) in enumerate(frames) if len(frame) > 1400 and frame[54:55] == b"$"]
    lost = media[len(media) // 2]
    case = analyzed(write_pcap(tmp_path / "a.pcap", [f for i, f in enumerate(frames) if i != lost]))
    (got,) = faithful_files(case)
    session = of(case)
    assert session["packets_missing"] == 1
    assert len(truth(movie)) - len(got) == movie.packet_size
    (medium,) = rows(case, "media", kind="faithful")
    assert medium["verdict"] == "complete but for 1 packet"
    assert "Gap" in events(case)
    hurt = rows(case, "loss", reason="hurt")
    number = 15 if locid else None
    assert {(r["first_packet"], r["last_packet"], r["packets"]) for r in hurt} == {(number, number, 1)}
    sound(case)


@pytest.mark.parametrize("lost", [False, True], ids=["all captured", "a hole before"])
def test_a_packet_that_was_being_sent_is_no_hole(movie, analyzed, tmp_path, lost):
    """Three fragments make a packet: broken off behind the second, of the eleventh."""
    stream = rtp_stream(sent(movie))[:32]
    items = opening(sdp(movie)) + [("s", interleaved(0, p)) for p in stream]
    frames = hung_up(frames_of(items, **ENDS), "reset")
    media = [i for i, (frame, _) in enumerate(frames) if frame[54:55] == b"$"]
    left = [f for i, f in enumerate(frames) if not lost or i != media[28]]
    case = analyzed(write_pcap(tmp_path / "a.pcap", left))
    assert faithful_files(case) == [truth(movie, without=range(10 - lost, 99))]
    told = {v["reason"] for v in rows(case, "verdicts")}
    assert ("hole at the end" in told, of(case)["packets_missing"]) == (lost, int(lost))


@pytest.mark.parametrize("side", ["c", "s"])
def test_one_direction_is_enough(movie, analyzed, tmp_path, side):
    frames = frames_of(tcp_session(sdp(movie), rtp_stream(sent(movie))), **ENDS)
    port = (40001 if side == "c" else RTSP).to_bytes(2, "big")
    case = analyzed(write_pcap(tmp_path / "a.pcap", [f for f in frames if f[0][34:36] == port]))
    session = of(case)
    assert (session["transport"], session["client_port"]) == ("rtsp", 40001)
    if side == "s":
        assert faithful_files(case) == [truth(movie)]
        assert session["outcome"] == "completed"
    else:
        assert (session["url"], session["packets_received"]) == (URL, 0)


def test_a_capture_that_begins_among_the_packets(movie, analyzed, tmp_path):
    frames = frames_of(tcp_session(sdp(movie), rtp_stream(sent(movie), Payloading(locid=True))), **ENDS)
    begin = next(i for i, (frame, _) in enumerate(frames) if frame[54:55] == b"$") + 9
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames[begin:]))
    session = of(case)
    assert (session["transport"], session["client_port"], session["outcome"]) == ("rtsp", 40001, "completed")
    (medium,) = rows(case, "media")
    assert medium["kind"] == "packets"
    assert medium["packets"] >= len(movie.packets) - 4
    sound(case)


def test_media_alone_on_any_port_are_known_by_their_structure(movie, analyzed, tmp_path):
    ends = {"client": (CLIENT, 40001), "server": (SERVER, 8554)}
    items = [("s", interleaved(0, packet)) for packet in rtp_stream(sent(movie))]
    frames = [f for f in frames_of(items, **ends) if len(f[0]) > 60]
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames))
    session = of(case)
    assert (session["transport"], session["server_port"]) == ("rtsp", 8554)
    assert rows(case, "media")[0]["packets"] >= len(movie.packets) - 1


# --- UDP -------------------------------------------------------------------------------------------


def udp_case(analyzed, tmp_path, frames):
    return analyzed(write_pcap(tmp_path / "a.pcap", frames))


@pytest.mark.parametrize("how", PAYLOADS.values(), ids=PAYLOADS)
def test_media_over_udp_belong_to_the_session_that_set_them_up(movie, analyzed, tmp_path, how):
    how = replace(how, size=min(how.size, 1400))
    stream = rtp_stream(sent(movie), how, sequence=65500)
    case = udp_case(analyzed, tmp_path, udp_session(sdp(movie), stream, sequence=65500))
    assert faithful_files(case) == [truth(movie)]
    session = of(case)
    assert (session["outcome"], session["packets_missing"]) == ("completed", 0)
    (medium,) = rows(case, "media", kind="faithful")
    assert medium["verdict"] == "complete"
    assert {f["recognised_as"] for f in rows(case, "flows")} == {"rtsp"}
    sound(case)


def test_two_sessions_at_once_whose_sources_are_called_alike(movie, tune, analyzed, tmp_path):
    """A server that gives each session the same SSRC: the port that was asked for tells them apart."""
    one = udp_session(sdp(movie), rtp_stream(sent(movie)))
    other = URL.replace("film", "tune")
    two = udp_session(sdp(tune), rtp_stream(sent(tune)), ports="2472-2473", url=other, tcp_port=40002)
    case = udp_case(analyzed, tmp_path, sorted(one + two, key=lambda item: item[1]))
    assert sorted(faithful_files(case)) == sorted([truth(movie), truth(tune)])
    assert [s["packets_missing"] for s in rows(case, "sessions")] == [0, 0]


@pytest.mark.parametrize("seed", range(4))
def test_disorder_and_repetition_change_nothing(movie, analyzed, tmp_path, seed):
    rng = random.Random(seed)
    stream = rtp_stream(sent(movie), Payloading(), sequence=65530)
    frames = udp_session(sdp(movie), stream, sequence=65530)
    media = [i for i, (frame, _) in enumerate(frames) if frame[23] == 17]
    order = sorted(media, key=lambda i: i + rng.uniform(0, 9))
    order = [*order, *rng.sample(media, 10)]
    stamps = [frames[i][1] for i in media] + [frames[media[-1]][1] + n for n in range(10)]
    moved = [(frames[i][0], ts) for i, ts in zip(order, stamps, strict=True)]
    control = [f for i, f in enumerate(frames) if i not in set(media)]
    case = udp_case(analyzed, tmp_path, sorted(control + moved, key=lambda f: f[1]))
    assert faithful_files(case) == [truth(movie)]
    assert of(case)["packets_missing"] == 0
    sound(case)


def test_what_is_sent_again_heals_the_loss(movie, analyzed, tmp_path):
    stream = rtp_stream(sent(movie), Payloading(locid=True), sequence=9)
    lost = [7, 20, 21]
    again = [Datagram(MEDIA_AT + (i + 12) * SPACING, stream[i], client_port=2470) for i in lost]
    asks = [
        Datagram(MEDIA_AT + (i + 6) * SPACING, nack(77, SSRC, 9 + i), 5005, 2463, from_client=True)
        for i in lost
    ]
    frames = udp_session(sdp(movie), stream, sequence=9, skip=lost, more=[*again, *asks])
    case = udp_case(analyzed, tmp_path, frames)
    assert faithful_files(case) == [truth(movie)]
    assert of(case)["packets_missing"] == 0
    asked = [e for e in rows(case, "events") if e["event"] == "RtcpNack"]
    assert [e["direction"] for e in asked] == ["client"] * 3
    assert "packets 29 again" in asked[1]["summary"]
    sound(case)


def test_loss_is_told_and_costs_what_it_hurts(movie, analyzed, tmp_path):
    stream = rtp_stream(sent(movie), Payloading(locid=True))
    first = [len(rtp_stream(sent(movie)[:n], Payloading(locid=True))) for n in (3, 9, 21)]
    lost = [first[0] + 1, first[1], first[2] - 1]
    case = udp_case(analyzed, tmp_path, udp_session(sdp(movie), stream, skip=lost))
    assert faithful_files(case) == [truth(movie, without=(3, 9, 20))]
    session = of(case)
    assert session["packets_missing"] == 3
    (medium,) = rows(case, "media", kind="faithful")
    assert medium["verdict"] == "complete but for 3 packets"
    missing = [(r["first_packet"], r["last_packet"]) for r in rows(case, "loss")]
    assert set(missing) == {(3, 3), (9, 9), (20, 20)}
    assert events(case).count("RtpLoss") == 3
    hurt = {r["first_packet"]: r["packets_hurt"] for r in rows(case, "loss")}
    assert hurt == {3: 1, 9: 1, 20: 1}  # something of each was seen
    assert sum({r["run"]: r["payloads_recovered"] for r in rows(case, "loss")}.values()) > 0
    sound(case)


def test_a_lost_end_is_known_by_the_number_that_the_server_names(movie, analyzed, tmp_path):
    stream = rtp_stream(sent(movie))
    lost = range(len(stream) - 4, len(stream))
    case = udp_case(analyzed, tmp_path, udp_session(sdp(movie), stream, skip=lost))
    session = of(case)
    assert session["packets_missing"] >= 1
    (medium,) = rows(case, "media", kind="faithful")
    assert (medium["verdict"], medium["complete"]) == ("partial", False)


def test_data_without_their_control_connection(movie, analyzed, tmp_path):
    stream = rtp_stream(sent(movie), Payloading(locid=True))
    frames = [f for f in udp_session(sdp(movie), stream) if f[0][23] == 17]
    case = udp_case(analyzed, tmp_path, frames)
    session = of(case)
    assert (session["transport"], session["client_ip"]) == ("rtsp", CLIENT)
    (medium,) = rows(case, "media")
    assert (medium["kind"], medium["packets"]) == ("packets", len(movie.packets))
    sound(case)


def test_a_single_packet_without_its_control_connection_is_no_session(movie, analyzed, tmp_path):
    frames = [f for f in udp_session(sdp(movie), rtp_stream(sent(movie))) if f[0][23] == 17]
    case = udp_case(analyzed, tmp_path, frames[:1])
    assert (rows(case, "sessions"), rows(case, "events")) == ([], [])


def test_parts_of_packets_without_a_whole_one_are_told(movie, analyzed, tmp_path):
    """An ASF packet of 3200 bytes comes in three RTP packets: two of them are a session without media."""
    frames = [f for f in udp_session(sdp(movie), rtp_stream(sent(movie))) if f[0][23] == 17]
    case = udp_case(analyzed, tmp_path, frames[:2])
    session = of(case)
    (event,) = rows(case, "events")
    assert event["summary"] == "? RTP packets are missing, with them 1 media packets at least"
    assert session["start_ts"] == session["end_ts"] == event["ts"]
    assert rows(case, "media") == []


def test_data_seen_before_their_setup_is_known(movie, analyzed, tmp_path):
    """As where the control connection was captured by another tap, whose clock is behind."""
    frames = udp_session(sdp(movie), rtp_stream(sent(movie)))
    late = [(frame, ts + 10**10 if frame[23] == 6 else ts) for frame, ts in frames]
    case = udp_case(analyzed, tmp_path, sorted(late, key=lambda f: f[1]))
    assert faithful_files(case) == [truth(movie)]


def test_packets_may_overtake_the_word_that_they_come(movie, analyzed, tmp_path):
    """The first datagrams come before the answer to PLAY, inside an ASF packet."""
    stream = rtp_stream(sent(movie), sequence=65534)
    frames = udp_session(sdp(movie), stream, sequence=65534)
    play = next(ts for frame, ts in frames if b"RTP-Info" in frame and b"200 OK" in frame)
    first = [i for i, (frame, _) in enumerate(frames) if frame[23] == 17][:4]
    early = [
        (frame, play - 10 + first.index(i)) if i in first else (frame, ts)
        for i, (frame, ts) in enumerate(frames)
    ]
    case = udp_case(analyzed, tmp_path, sorted(early, key=lambda f: f[1]))
    assert faithful_files(case) == [truth(movie)]
    assert rows(case, "media", kind="faithful")[0]["verdict"] == "complete"


def test_probes_and_reports_are_no_media(movie, analyzed, tmp_path):
    rng = random.Random(5)
    sizes = (1454, 1455, 1456)
    noise = [bytes(rng.randrange(256) for _ in range(n - 4)) for n in sizes]
    probes = [
        rtp(
            500 + i,
            0,
            0x11111111,
            bytes([0x40 | 0x80 * (i == 0)]) + len(n).to_bytes(3, "big") + n,
            marker=True,
            pt=97,
        )
        for i, n in enumerate(noise)
    ]
    stream = rtp_stream(sent(movie))
    more = [Datagram(MEDIA_AT - 10**8 + i, p) for i, p in enumerate(probes)]
    more += [Datagram(MEDIA_AT + 5 * SPACING, sender_report(SSRC, 5, 7000), 5005, 2463)]
    more += [Datagram(MEDIA_AT + len(stream) * SPACING, bye(SSRC), 5005, 2463)]
    case = udp_case(analyzed, tmp_path, udp_session(sdp(movie), stream, more=more))
    assert faithful_files(case) == [truth(movie)]
    told = events(case)
    assert {"PacketPair", "RtcpSenderReport", "RtcpBye"} <= set(told)
    assert of(case)["packets_missing"] == 0


@pytest.mark.parametrize("lower", ["tcp", "udp"])
def test_the_last_fragment_of_a_packet_sent_at_0_is_no_probe(movie, analyzed, tmp_path, lower):
    """As packet-pair probes it has the time stamp 0, the marker, and no beginning of a packet."""
    assert send_time(movie.packets[0]) == 0
    stream = rtp_stream(sent(movie), Payloading(size=1100))
    if lower == "tcp":
        path = write_conversation(tmp_path / "a.pcap", tcp_session(sdp(movie), stream), **ENDS)
    else:
        path = write_pcap(tmp_path / "a.pcap", udp_session(sdp(movie), stream))
    case = analyzed(path)
    assert faithful_files(case) == [truth(movie)]
    assert of(case)["packets_missing"] == 0
    assert "PacketPair" not in events(case)


def two_sources(movie):
    """The packets of a film sent alternately by two sources, as one stream in order of sending."""
    packets = sent(movie)
    sources = (SSRC, 0x0BADCAFE)
    streams = [rtp_stream(packets[k::2], Payloading(), sequence=7 * k, ssrc=sources[k]) for k in (0, 1)]
    apart = [[], []]
    for k in (0, 1):
        for packet in streams[k]:
            if not apart[k] or apart[k][-1][-1][1] & 0x80:  # the marker ends an ASF packet
                apart[k].append([])
            apart[k][-1].append(packet)
    order = [(k, apart[k][n]) for n in range(len(apart[0])) for k in (0, 1) if n < len(apart[k])]
    return [packet for _, part in order for packet in part]


@pytest.mark.parametrize("lower", ["tcp", "udp"])
@pytest.mark.parametrize("late", [False, True], ids=["in order", "one late"])
def test_packets_of_two_sources_are_one_medium(movie, analyzed, tmp_path, lower, late):
    stream = two_sources(movie)
    if lower == "tcp":
        items = tcp_session(sdp(movie), stream)
        path = write_conversation(tmp_path / "a.pcap", items, **ENDS)
    else:
        moved = [Datagram(MEDIA_AT + 22 * SPACING + 5, stream[20])] if late else []
        frames = udp_session(sdp(movie), stream, skip=[20] if late else (), more=moved)
        path = write_pcap(tmp_path / "a.pcap", frames)
    case = analyzed(path)
    assert faithful_files(case) == [truth(movie)]
    sound(case)


# --- what sessions do ------------------------------------------------------------------------------


def test_a_playlist_is_one_medium_for_each_entry(movie, tune, analyzed, tmp_path):
    first, second = rtp_stream(sent(movie)), rtp_stream(sent(tune), sequence=len(rtp_stream(sent(movie))))
    boundary = len(first)
    announce = request(
        "ANNOUNCE",
        URL,
        102,
        ("Content-Type", "application/sdp"),
        ("X-Playlist-Gen-Id", 7),
        ("RTP-Info", f"url={URL}/video;seq={boundary}"),
        body=sdp(tune),
    )
    between = [
        ("s", end_of_stream(101, boundary, body=b"End-Of-Playlist-Entry: true\r\n")),
        ("s", announce),
        ("c", response(101) + response(102)),
        *(("s", interleaved(0, packet)) for packet in second),
        ("s", end_of_stream(103, boundary + len(second))),
        ("c", response(103)),
    ]
    items = opening(sdp(movie)) + [("s", interleaved(0, p)) for p in first] + between + closing(4)
    case = analyzed(write_conversation(tmp_path / "a.pcap", items, **ENDS))
    assert faithful_files(case) == [truth(movie), truth(tune)]
    assert of(case)["outcome"] == "completed"
    assert [m["complete"] for m in rows(case, "media", kind="faithful")] == [True, True]
    sound(case)


def test_an_announced_entry_over_udp_begins_where_it_says(movie, tune, analyzed, tmp_path):
    """The last datagrams of the old entry come after the word about the new one."""
    first = rtp_stream(sent(movie), sequence=5)
    second = rtp_stream(sent(tune), sequence=5 + len(first))
    announce = request(
        "ANNOUNCE",
        URL,
        102,
        ("Content-Type", "application/sdp"),
        ("RTP-Info", f"url={URL}/video;seq={5 + len(first)}"),
        body=sdp(tune),
    )
    frames = udp_session(sdp(movie), first + second, sequence=5)
    early = MEDIA_AT + (len(first) - 5) * SPACING - SPACING // 2
    offer = "RTP/AVP/UDP;unicast;client_port=2462-2463"
    answer = f"{offer};server_port=5004-5005;ssrc=927717de;mode=PLAY"
    items = opening(sdp(movie), transport=offer, answer=answer, sequence=5)
    items += [
        ("s", end_of_stream(101, 5 + len(first), body=b"End-Of-Playlist-Entry: true\r\n"), early),
        ("s", announce, early + 1000),
        ("s", end_of_stream(103, 5 + len(first) + len(second)), MEDIA_AT + 10**10),
    ]
    control = frames_of(items + [(s, d, MEDIA_AT + 2 * 10**10) for s, d in closing(4)], **ENDS)
    media = [f for f in frames if f[0][23] == 17]
    case = udp_case(analyzed, tmp_path, sorted(control + media, key=lambda f: f[1]))
    assert faithful_files(case) == [truth(movie), truth(tune)]
    assert [m["complete"] for m in rows(case, "media", kind="faithful")] == [True, True]


@pytest.mark.parametrize("locid", [True, False], ids=["numbered", "by send time"])
def test_a_pause_and_a_seek_go_on_with_the_same_medium(movie, analyzed, tmp_path, locid):
    packets = sent(movie)
    first = rtp_stream(packets[:10], Payloading(locid=locid))
    second = rtp_stream(packets[5:], Payloading(locid=locid), sequence=30000)
    play = [("Range", "npt=1.000-"), ("RTP-Info", f"url={URL}/video;seq=30000;rtptime=0")]
    items = opening(sdp(movie)) + [("s", interleaved(0, p)) for p in first]
    items += [("c", request("PAUSE", URL, 4)), ("s", response(4))]
    items += [("c", request("PLAY", URL, 5, ("Range", "npt=1.000-"))), ("s", response(5, *play))]
    items += [("s", interleaved(0, p)) for p in second]
    items += [("s", end_of_stream(101, 30000 + len(second))), *closing(6)]
    case = analyzed(write_conversation(tmp_path / "a.pcap", items, **ENDS))
    whole = faithful(Segment(movie.header, movie.packet_size, packets[:10] + packets[5:]))
    assert faithful_files(case) == [whole]
    session = of(case)
    assert (session["outcome"], session["packets_missing"]) == ("completed", 0)
    (playable,) = rows(case, "media", kind="playable")
    assert playable["packets"] == len(movie.packets)  # those sent twice are in it once
    told = [e["summary"].split(":")[0] for e in rows(case, "events") if e["event"] == "RtspRequest"]
    assert told == ["Describe", "SelectStream", "Play", "Pause", "Play", "EndOfStream", "Teardown"]


@pytest.mark.parametrize(
    ("status", "reason", "outcome"),
    [
        (404, "Not Found", "failed: 404 Not Found"),
        (500, "Internal Server Error", "failed: 500 Internal Server Error"),
        (302, "Moved Temporarily", "redirected"),
    ],
)
def test_what_the_server_refuses(analyzed, tmp_path, status, reason, outcome):
    items = [
        ("c", request("DESCRIBE", URL, 1, ("User-Agent", "WMPlayer/10.0.0.380"))),
        ("s", response(1, ("Location", "rtsp://192.0.2.30/x"), status=status, reason=reason)),
    ]
    case = analyzed(write_conversation(tmp_path / "a.pcap", items, **ENDS))
    assert of(case)["outcome"] == outcome
    sent = [(r["kind"], r["target"], r["carried_by"]) for r in rows(case, "redirectors")]
    assert sent == [("rtsp 302", "rtsp://192.0.2.30/x", "c001-s0001")] * (status == 302)


def test_a_challenge_is_an_event_and_no_failure_once_it_is_met(movie, analyzed, tmp_path):
    items = [
        ("c", request("DESCRIBE", URL, 1, ("User-Agent", "WMPlayer/10.0.0.380"))),
        ("s", response(1, ("WWW-Authenticate", "NTLM"), status=401, reason="Unauthorized")),
        *tcp_session(sdp(movie), rtp_stream(sent(movie))),
    ]
    case = analyzed(write_conversation(tmp_path / "a.pcap", items, **ENDS))
    assert of(case)["outcome"] == "completed"
    assert "RtspChallenge" in events(case)


def test_a_transport_refused_and_another_agreed(movie, analyzed, tmp_path):
    udp = ("Transport", "RTP/AVP/UDP;unicast;client_port=2462-2463")
    items = tcp_session(sdp(movie), rtp_stream(sent(movie)))
    refused = [
        ("c", request("SETUP", f"{URL}/video", 90, udp)),
        ("s", response(90, status=461, reason="Unsupported Transport")),
    ]
    case = analyzed(write_conversation(tmp_path / "a.pcap", items[:2] + refused + items[2:], **ENDS))
    assert of(case)["outcome"] == "completed"
    assert faithful_files(case) == [truth(movie)]


def test_other_dialects_of_rtsp_are_no_sessions(analyzed, tmp_path):
    description = b"v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n"
    stream = [interleaved(0, rtp(i, 90 * i, 7, b"\x7c\x85" + bytes(1000))) for i in range(50)]
    url = "rtsp://192.0.2.10/cam"
    items = [
        ("c", request("DESCRIBE", url, 1, ("User-Agent", "LibVLC/3.0"))),
        (
            "s",
            b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Type: application/sdp\r\n"
            b"Content-Length: %d\r\n\r\n" % len(description) + description,
        ),
        ("c", request("SETUP", url + "/track1", 2, ("Transport", "RTP/AVP/TCP;interleaved=0-1"))),
        ("s", b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nSession: 1\r\n\r\n"),
        *(("s", packet) for packet in stream),
    ]
    case = analyzed(write_conversation(tmp_path / "a.pcap", items, **ENDS))
    assert rows(case, "sessions") == []
    assert events(case) == []


def test_logs_reach_whoever_reads_documents(movie, analyzed, tmp_path, monkeypatch):
    from mmsforensics.sessions.room import SessionRoom

    seen = []
    monkeypatch.setattr(SessionRoom, "_document", lambda _, document: seen.append(document))
    log = b"<XML><Summary>0.0.0.0 2005-03-01 10:20:30 - film.wmv 0 2 1 200</Summary></XML>"
    kind = ("Content-Type", "application/x-wms-Logplaystats;charset=UTF-8")
    post = [("c", request("SET_PARAMETER", URL, 9, kind, body=log)), ("s", response(9))]
    items = tcp_session(sdp(movie), rtp_stream(sent(movie)), between=post)
    case = analyzed(write_conversation(tmp_path / "a.pcap", items, **ENDS))
    (document,) = [d for d in seen if d.data == log]
    assert document.whole and document.story is not None
    assert document.request.header("content-type") == kind[1]
    assert any("LogPlay" in e["summary"] for e in rows(case, "events"))
    assert faithful_files(case) == [truth(movie)]


def test_a_connection_goes_on_with_the_session_that_it_names(movie, analyzed, tmp_path):
    """A player whose connection broke plays on: both connections are one viewing, one medium."""
    stream = rtp_stream(sent(movie))
    first = opening(sdp(movie)) + [("s", interleaved(0, p)) for p in stream[:30]]
    kept = stream[30:]
    play = ("RTP-Info", f"url={URL}/video;seq=30;rtptime=0")
    session = ("Session", "17268174590018475267")
    second = [
        ("c", request("PLAY", URL, 1, session, ("User-Agent", "WMPlayer/9.0.0.2833"))),
        ("s", response(1, session, play)),
        *(("s", interleaved(0, p)) for p in kept),
        ("s", end_of_stream(101, len(stream))),
        *closing(2),
    ]
    frames = frames_of(first, **ENDS)
    later = frames[-1][1] + 10**9
    frames += frames_of(second, client=(CLIENT, 40009), server=(SERVER, RTSP), start_ns=later)
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames))
    assert faithful_files(case) == [truth(movie)]
    assert (of(case)["outcome"], of(case)["packets_missing"]) == ("completed", 0)


@pytest.mark.parametrize("how", ["reset", "open"])
def test_the_end_that_counts_is_that_of_the_connection_that_went_on(movie, analyzed, tmp_path, how):
    """How the broken connection ended is known last, since it is decoded to the end of the capture."""
    stream = rtp_stream(sent(movie))
    first = opening(sdp(movie)) + [("s", interleaved(0, p)) for p in stream[:30]]
    session = ("Session", "17268174590018475267")
    second = [
        ("c", request("PLAY", URL, 1, session, ("User-Agent", "WMPlayer/9.0.0.2833"))),
        ("s", response(1, session, ("RTP-Info", f"url={URL}/video;seq=30;rtptime=0"))),
        *(("s", interleaved(0, p)) for p in stream[30:40]),
    ]
    frames = hung_up(frames_of(first, **ENDS), how)
    later = frames[-1][1] + 10**9
    frames += frames_of(second, client=(CLIENT, 40009), server=(SERVER, RTSP), start_ns=later)
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames))
    assert of(case)["outcome"] == "stopped by client"
    assert [v["frame"] for v in rows(case, "verdicts", reason="client closed")] == [len(frames) - 2]


@pytest.mark.parametrize("seed", range(6))
def test_damaged_captures_give_a_case_that_holds(movie, analyzed, tmp_path, seed):
    """Frames lost, repeated, cut and with bytes changed: every byte recovered still leads to its frame."""
    rng = random.Random(seed)
    stream = rtp_stream(sent(movie), Payloading(several=True, locid=seed % 2 == 0))
    items = tcp_session(sdp(movie), stream)
    frames = udp_session(sdp(movie), stream) if seed % 3 else frames_of(items, **ENDS)
    damaged = []
    for frame, ts in frames:
        fate = rng.random()
        if fate < 0.05:
            continue
        if fate < 0.1:
            frame = frame[: rng.randrange(60, len(frame) + 1)] if len(frame) > 60 else frame
        elif fate < 0.15:
            at = rng.randrange(42, len(frame))
            frame = frame[:at] + bytes([rng.randrange(256)]) + frame[at + 1 :]
        damaged += [(frame, ts)] * (2 if fate > 0.95 else 1)
    case = analyzed(write_pcap(tmp_path / "a.pcap", damaged))
    assert len(rows(case, "sessions")) >= 1
    sound(case)


# --- tshark ----------------------------------------------------------------------------------------


def test_tshark_counts_the_same_requests_and_responses(movie, analyzed, program, tmp_path):
    items = tcp_session(sdp(movie), rtp_stream(sent(movie)))
    path = Path(write_conversation(tmp_path / "a.pcap", items, **ENDS))
    case = analyzed(path)
    counts = {}
    for name, field in (("RtspRequest", "rtsp.method"), ("RtspResponse", "rtsp.status")):
        command = [program("tshark"), "-r", str(path), "-Y", field, "-T", "fields", "-e", field]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        counts[name] = len([v for line in said.split() for v in line.split(",")])
    assert {name: events(case).count(name) for name in counts} == counts
