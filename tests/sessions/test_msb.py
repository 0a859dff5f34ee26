"""Multicast: what a sender written from the specification sends is recovered, healed and told honestly."""

from __future__ import annotations

import functools
import hashlib
import operator
import random

import pytest
from builders import read_pcap, write_pcap
from cases import rows
from peers import msb_sender as sender
from peers.asf_file import AsfFile
from peers.media import make_asf
from peers.mmst_server import transcript
from peers.recorder import frames_of

import mmsforensics

FORMAT = 0x39E
OTHER_ENTRY = FORMAT | 0x8000


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Some eighty packets of 1400 bytes."""
    path = make_asf(tmp_path_factory.mktemp("media") / "film.wmv", title="Film", packet_size=1400)
    return AsfFile.read(path)


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    """Audio in packets of 508 bytes, all of them padded: their lengths differ when that is stripped."""
    path = make_asf(tmp_path_factory.mktemp("media") / "song.wma", video=False, title="Song", packet_size=508)
    return AsfFile.read(path)


@pytest.fixture
def station(tmp_path):
    """Write a station file; returns its path."""

    def write(*formats, name="station.nsc", **options):
        path = tmp_path / name
        path.write_bytes(sender.station_file(formats, **options))
        return path

    return write


@pytest.fixture
def received(tmp_path):
    """Analyse packets (or plain datagrams) that arrive at a group, beside documents."""

    def analyze(arrived, *documents, **options):
        datagrams = [a if isinstance(a, bytes) else a.datagram for a in arrived]
        path = write_pcap(tmp_path / "multicast.pcap", sender.frames(datagrams, **options))
        return mmsforensics.analyze([path, *documents], out=tmp_path / "case")

    return analyze


def files(case, kind="faithful"):
    return [(case.path / m["path"]).read_bytes() for m in rows(case, "media", kind=kind)]


def told(case, event):
    return [e for e in rows(case, "events") if e["event"] == event]


def details(case, event):
    import json

    return [json.loads(e["details"]) for e in told(case, event)]


def deep(case):
    return [c.message for c in mmsforensics.verify(case, deep=True) if not c.ok]


@pytest.mark.parametrize("strip", [True, False])
def test_what_was_sent_is_recovered_byte_for_byte(film, station, received, strip):
    sent = sender.entry(film, FORMAT, strip=strip)
    case = received(sent, station((FORMAT, film.header)))
    assert files(case) == [sender.faithful(film.header, film.packet_size, sent)]
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["outcome"]) == ("msb", "end not seen")
    assert (session["client_ip"], session["client_port"]) == sender.GROUP
    assert (session["server_ip"], session["server_port"]) == sender.SENDER
    assert session["url"] == "asfm://239.192.48.179:19009"
    assert (session["packets_received"], session["packets_missing"]) == (len(film.packets), 0)
    (counts,) = details(case, "MsbErrorCorrection")
    assert counts["checked"] == counts["parity"] == len(film.packets) // 10
    assert counts["contradicted"] == counts["restored"] == 0
    assert deep(case) == []


def test_the_header_is_that_of_the_station_file_and_says_so(film, song, station, received):
    path = station((0x001, song.header), (FORMAT, film.header), descriptions=("Ton", "Bild und Ton"))
    case = received(sender.entry(film, FORMAT), path)
    for medium in rows(case, "media"):
        assert medium["header_proof"] == "station file"
        assert medium["header_from"] == f"c002 {path}, Format2 (Format ID 0x39E)"
    (faithful,) = rows(case, "media", kind="faithful")
    head = rows(case, "provenance", media_id=faithful["media_id"])[0]
    assert (head["kind"], head["frame"], head["length"]) == ("decoded", None, len(film.header))
    (row,) = rows(case, "stations")
    assert row["formats"][1] == f"Format2: Format ID 0x39E, header of {len(film.header)} bytes, Bild und Ton"


@pytest.mark.parametrize("numbers", [True, False])
@pytest.mark.parametrize("low_type", [True, False])
@pytest.mark.parametrize("strip", [True, False])
def test_one_lost_packet_of_a_cycle_is_restored_and_stands_in_the_playable_file_alone(
    song, station, received, numbers, low_type, strip
):
    sent = sender.entry(song, FORMAT, numbers=numbers, low_type=low_type, strip=strip)
    lost = [sent[13], sent[22]]  # of the second and the third cycle, the latter its first packet
    arrived = [s for s in sent if s not in lost]
    case = received(arrived, station((FORMAT, song.header)))
    assert files(case) == [sender.faithful(song.header, song.packet_size, arrived)]
    (faithful,) = rows(case, "media", kind="faithful")
    (playable,) = rows(case, "media", kind="playable")
    assert (faithful["packets_missing"], faithful["complete"]) == (2, False)
    assert playable["packets"] == faithful["packets"] + 2
    assert any("inferred: computed from parity" in note for note in playable["notes"])
    found = {r["packet_number"]: r["sha256"] for r in rows(case, "restored")}
    assert found == {s.packet_id: hashlib.sha256(s.asf).hexdigest() for s in lost}
    assert samples(case.path / playable["path"]) == samples_of(song)
    assert {(r["reason"], r["packets_restored"]) for r in rows(case, "loss")} == {("restored", 1)}
    assert ("packets restored", 2) in {(v["reason"], v["count"]) for v in rows(case, "verdicts")}
    assert deep(case) == []


def samples(path):
    import av

    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux() if packet.size]


def samples_of(asf):
    import io

    import av

    data = asf.header + b"".join(asf.packets)
    with av.open(io.BytesIO(data), format="asf") as container:
        return [bytes(packet) for packet in container.demux() if packet.size]


def test_a_restored_packet_can_be_computed_again_from_the_table_and_the_evidence_alone(
    film, station, received, tmp_path
):
    sent = sender.entry(film, FORMAT)
    case = received([s for s in sent if s is not sent[5]], station((FORMAT, film.header)))
    frames = [frame for frame, _ in read_pcap(tmp_path / "multicast.pcap")]
    sources = {}
    for row in rows(case, "restored"):
        part = frames[row["frame"] - 1][row["frame_offset"] : row["frame_offset"] + row["length"]]
        sources.setdefault((row["source_number"], row["source_parity"]), b"")
        sources[row["source_number"], row["source_parity"]] += part
    assert len(sources) == 10
    longest = max(map(len, sources.values()))
    total = functools.reduce(
        operator.xor, (int.from_bytes(s[3:].ljust(longest, b"\0"), "big") for s in sources.values())
    )
    again = total.to_bytes(longest, "big")[: row["size"] - 3]
    assert again == sent[5].asf[3:]


def test_restored_bytes_are_marked_in_provenance(film, station, received):
    sent = sender.entry(film, FORMAT)
    case = received([s for s in sent if s is not sent[5]], station((FORMAT, film.header)))
    (playable,) = rows(case, "media", kind="playable")
    origins = rows(case, "provenance", media_id=playable["media_id"], kind="restored")
    assert {o["frame"] for o in origins} == {None}
    assert sum(o["length"] for o in origins) == len(sent[5].asf)


def test_verify_computes_restored_packets_again_and_finds_other_bytes(film, station, received):
    sent = sender.entry(film, FORMAT)
    case = received([s for s in sent if s is not sent[5]], station((FORMAT, film.header)))
    said = [c.message for c in mmsforensics.verify(case, deep=True) if c.kind == "rebuilt"]
    assert any(f"{len(sent[5].asf):,} bytes computed again from parity" in message for message in said)
    (playable,) = rows(case, "media", kind="playable")
    origin = rows(case, "provenance", media_id=playable["media_id"], kind="restored")[0]
    path = case.path / playable["path"]
    data = bytearray(path.read_bytes())
    data[origin["file_offset"] + 100] ^= 1
    path.write_bytes(data)
    assert any("are not what parity gives" in message for message in deep(case))


def test_two_lost_packets_of_a_cycle_are_lost(film, station, received):
    sent = sender.entry(film, FORMAT)
    arrived = [s for s in sent if s not in (sent[3], sent[5])]
    case = received(arrived, station((FORMAT, film.header)))
    (session,) = rows(case, "sessions")
    assert session["packets_missing"] == 2
    assert rows(case, "restored") == []
    (counts,) = details(case, "MsbErrorCorrection")
    assert (counts["restored"], counts["beyond_repair"]) == (0, 1)


def test_a_parity_packet_that_contradicts_its_cycle_is_told_and_restores_nothing_wrong(
    film, station, received
):
    sent = sender.entry(film, FORMAT)
    i = next(i for i, s in enumerate(sent) if s.parity)
    bad = bytearray(sent[i].asf)
    bad[200] ^= 0xFF
    wrong = [*sent[:i], sender.Sent(sent[i].packet_id, FORMAT, bytes(bad), parity=True), *sent[i + 1 :]]
    case = received(wrong, station((FORMAT, film.header)))
    (counts,) = details(case, "MsbErrorCorrection")
    assert (counts["contradicted"], counts["restored"]) == (1, 0)


@pytest.mark.parametrize("seed", range(4))
def test_disorder_and_repetition_cost_nothing(film, station, received, seed):
    sent = sender.entry(film, FORMAT, first_id=2**32 - 30)  # the numbers wrap among them
    case = received(sender.disturbed(sent, seed, doubled=0.2, shift=12), station((FORMAT, film.header)))
    assert files(case) == [sender.faithful(film.header, film.packet_size, sent)]
    (session,) = rows(case, "sessions")
    assert session["packets_missing"] == 0
    (playable,) = files(case, "playable")
    assert playable.count(film.packets[0][60:300]) == 1
    assert playable.index(film.packets[0][60:300]) < playable.index(film.packets[-2][60:300])


@pytest.mark.parametrize("seed", range(4))
def test_loss_is_counted_rightly_over_the_wrap_and_at_each_number(film, station, received, seed):
    sent = sender.entry(film, FORMAT, first_id=2**32 - 37)
    arrived = sender.disturbed(sent, seed, lost=0.15)
    seen = sender.media(arrived)
    case = received(arrived, station((FORMAT, film.header)))
    first, last = (s.packet_id - (2**32 if s.packet_id > 2**31 else 0) for s in (seen[0], seen[-1]))
    (session,) = rows(case, "sessions")
    assert session["packets_missing"] == last - first + 1 - len(seen)
    assert files(case) == [sender.faithful(film.header, film.packet_size, arrived)]
    restored = {r["packet_number"]: r["sha256"] for r in rows(case, "restored")}
    by_id = {s.packet_id: s for s in sender.media(sent)}
    assert restored == {n: hashlib.sha256(by_id[n].asf).hexdigest() for n in restored}
    assert not restored.keys() & {s.packet_id for s in seen}
    assert deep(case) == []


def test_number_255_is_a_packet_like_others(film, station, received):
    sent = sender.entry(film, FORMAT, first_id=200)
    arrived = [s for s in sent if s.packet_id % 256 != 255]
    case = received(arrived, station((FORMAT, film.header)))
    (session,) = rows(case, "sessions")
    assert session["packets_missing"] == 1


def test_a_station_joined_in_the_middle_lacks_nothing_before(film, station, received):
    sent = sender.entry(film, FORMAT)
    case = received(sent[25:], station((FORMAT, film.header)))
    (session,) = rows(case, "sessions")
    assert session["packets_missing"] == 0
    assert ("starts inside", 23) in {(v["reason"], v["count"]) for v in rows(case, "verdicts")}


def test_entries_of_a_playlist_are_media_of_one_session(film, song, station, received):
    first = sender.entry(film, FORMAT, packets=25)
    second = sender.entry(film, OTHER_ENTRY, first_id=25, packets=25)
    third = sender.entry(song, 0x012, first_id=50)
    case = received([*first, *second, *third], station((FORMAT, film.header), (0x012, song.header)))
    assert len(rows(case, "sessions")) == 1
    assert files(case) == [
        sender.faithful(film.header, film.packet_size, first),
        sender.faithful(film.header, film.packet_size, second),
        sender.faithful(song.header, song.packet_size, third),
    ]
    assert [v["media_id"][-len("m1-faithful") :] for v in rows(case, "verdicts", reason="next content")] == [
        "m1-faithful",
        "m2-faithful",
    ]


def test_a_long_hole_is_loss_and_no_new_session(film, station, received):
    long = [*sender.entry(film, FORMAT), *sender.entry(film, FORMAT, first_id=5000, first_cycle=7)]
    case = received(long, station((FORMAT, film.header)))
    (session,) = rows(case, "sessions")
    assert session["packets_missing"] == 5000 - len(film.packets)


def test_beacons_are_told_and_alone_are_a_sender_that_sends_nothing(film, station, received):
    sent = sender.entry(film, FORMAT)
    case = received([*[sender.BEACON] * 30, *sent, *[sender.BEACON] * 5], station((FORMAT, film.header)))
    assert [d["repeated"] for d in details(case, "MsbBeacon")] == [30, 5]
    assert files(case) == [sender.faithful(film.header, film.packet_size, sent)]
    case = received([sender.BEACON] * 3)
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["outcome"]) == ("msb", "no content opened")


def test_without_a_station_file_the_packets_are_kept_as_they_were(film, received):
    sent = sender.entry(film, FORMAT)
    case = received(sent)
    assert files(case, "packets") == [b"".join(s.asf for s in sender.media(sent))]
    (session,) = rows(case, "sessions")
    assert session["packets_received"] == len(film.packets)
    assert deep(case) == []


def test_a_station_file_for_another_group_or_format_gives_no_header(film, station, received):
    others = (
        station((FORMAT, film.header), name="a.nsc", group=("239.192.48.180", 0x4A41)),
        station((FORMAT, film.header), name="b.nsc", group=("239.192.48.179", 0x4A42)),
        station((FORMAT + 1, film.header), name="c.nsc"),
    )
    case = received(sender.entry(film, FORMAT), *others)
    assert [m["kind"] for m in rows(case, "media")] == ["packets"]
    assert len(rows(case, "stations")) == 3


def interleaved(*frames):
    return sorted((f for part in frames for f in part), key=lambda f: f[1])


def test_two_stations_of_two_senders_on_one_group_are_two_sessions(film, song, station, tmp_path):
    """Their Format IDs are the same: whose header it is the Multicast Adapter tells."""
    sent = sender.entry(film, FORMAT), sender.entry(song, FORMAT, first_id=7000)
    elsewhere = ("192.0.2.11", 50000)
    frames = interleaved(
        sender.frames([s.datagram for s in sent[0]]),
        sender.frames([s.datagram for s in sent[1]], sender=elsewhere, start_ns=sender.START + 5),
    )
    stations = [
        station((FORMAT, film.header), name="a.nsc"),
        station((FORMAT, song.header), name="b.nsc", adapter=elsewhere[0]),
    ]
    path = write_pcap(tmp_path / "a.pcap", frames)
    case = mmsforensics.analyze([path, *stations], out=tmp_path / "case")
    assert sorted(files(case)) == sorted(
        [
            sender.faithful(film.header, film.packet_size, sent[0]),
            sender.faithful(song.header, song.packet_size, sent[1]),
        ]
    )
    assert {s["server_ip"] for s in rows(case, "sessions")} == {"192.0.2.10", "192.0.2.11"}


def test_two_stations_of_one_sender_on_one_group_are_two_sessions(film, song, station, tmp_path):
    sent = sender.entry(film, FORMAT), sender.entry(song, 0x012, first_id=7000)
    frames = interleaved(
        sender.frames([s.datagram for s in sent[0]]),
        sender.frames([s.datagram for s in sent[1]], start_ns=sender.START + 5),
    )
    stations = [station((FORMAT, film.header), name="a.nsc"), station((0x012, song.header), name="b.nsc")]
    path = write_pcap(tmp_path / "a.pcap", frames)
    case = mmsforensics.analyze([path, *stations], out=tmp_path / "case")
    assert len(rows(case, "sessions")) == 2
    assert sorted(files(case)) == sorted(
        [
            sender.faithful(film.header, film.packet_size, sent[0]),
            sender.faithful(song.header, song.packet_size, sent[1]),
        ]
    )


def test_station_files_that_disagree_give_no_header_and_it_is_told(film, song, station, received):
    stations = [
        station((FORMAT, film.header), name="a.nsc", adapter="198.51.100.1"),
        station((FORMAT, song.header), name="b.nsc", adapter="198.51.100.2"),
    ]
    case = received(sender.entry(film, FORMAT), *stations)
    assert [m["kind"] for m in rows(case, "media")] == ["packets"]
    (said,) = details(case, "StationsDisagree")
    assert len(said["stations"]) == 2


def fetched(nsc, *, start_ns):
    """A station file fetched over HTTP by a player."""
    request = b"GET /station.nsc HTTP/1.1\r\nHost: 192.0.2.80\r\nUser-Agent: NSPlayer/9.0.0.2980\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ms-nsc\r\n"
    answer = head + b"Content-Length: %d\r\n\r\n" % len(nsc) + nsc
    return frames_of([("c", request), ("s", answer)], server=("192.0.2.80", 80), start_ns=start_ns)


@pytest.mark.parametrize("when", [-(10**9), 3 * 10**8, 10**11], ids=["before", "amid", "behind"])
def test_a_station_file_fetched_over_http_gives_the_header_whenever_it_comes(film, tmp_path, when):
    sent = sender.entry(film, FORMAT)
    nsc = sender.station_file([(FORMAT, film.header)], encode=True)
    frames = interleaved(
        sender.frames([s.datagram for s in sent]), fetched(nsc, start_ns=sender.START + when)
    )
    case = mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", frames)], out=tmp_path / "case")
    assert files(case) == [sender.faithful(film.header, film.packet_size, sent)]
    (row,) = rows(case, "stations")
    assert (row["url"], row["whole"], row["problems"]) == ("http://192.0.2.80/station.nsc", True, [])
    assert (row["address"], row["port"], row["name"]) == (*sender.GROUP, "SERVER, station")
    assert row["unicast_url"] == "mms://192.0.2.10/station"
    assert row["log_url"] == "http://192.0.2.10/nsc/log.dll"
    assert nsc.endswith(frames[row["frame"] - 1][0][-40:])
    assert row["session_id"] == told(case, "StationFile")[0]["session_id"]
    assert deep(case) == []


def test_a_station_file_that_comes_too_late_makes_the_packets_playable(film, tmp_path, monkeypatch):
    monkeypatch.setattr("mmsforensics.sessions.stations.HELD_LIMIT", 20_000)
    sent = sender.entry(film, FORMAT)
    nsc = sender.station_file([(FORMAT, film.header)])
    frames = interleaved(
        sender.frames([s.datagram for s in sent]), fetched(nsc, start_ns=sender.START + 10**11)
    )
    case = mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", frames)], out=tmp_path / "case")
    assert files(case, "packets") == [b"".join(s.asf for s in sender.media(sent))]
    (playable,) = rows(case, "media", kind="playable")
    assert playable["header_from"] == "http://192.0.2.80/station.nsc, Format1 (Format ID 0x39E)"
    assert (playable["header_proof"], playable["packets"]) == ("station file", len(film.packets))
    assert samples(case.path / playable["path"]) == samples_of(film)
    assert deep(case) == []


def test_fragmented_datagrams_lead_to_their_fragments(tmp_path, film, station):
    """Packets larger than a frame: each datagram comes in IP fragments, one of which is lost."""
    big = AsfFile.read(make_asf(tmp_path / "big.wmv", packet_size=3200))
    sent = sender.entry(big, FORMAT)
    frames = []
    for i, (frame, ts) in enumerate(sender.frames([s.datagram for s in sent])):
        frames += [(part, ts + n) for n, part in enumerate(fragments(frame, i))]
    lost = next(i for i, (frame, _) in enumerate(frames) if frame[18:20] == (5).to_bytes(2, "big"))
    del frames[lost]
    path = write_pcap(tmp_path / "a.pcap", frames)
    case = mmsforensics.analyze([path, station((FORMAT, big.header))], out=tmp_path / "case")
    assert files(case) == [sender.faithful(big.header, 3200, [s for s in sent if s is not sent[5]])]
    assert {r["packet_number"] for r in rows(case, "restored")} == {5}
    assert {r["sha256"] for r in rows(case, "restored")} == {hashlib.sha256(sent[5].asf).hexdigest()}
    for row in rows(case, "restored"):
        assert row["frame_offset"] + row["length"] <= len(frames[row["frame"] - 1][0])
    assert deep(case) == []


def fragments(frame, ip_id, size=1480):
    from builders import ipv4

    head, body = frame[:14], frame[34 : 14 + int.from_bytes(frame[16:18], "big")]
    for at in range(0, len(body), size):
        more = 0x2000 if at + size < len(body) else 0
        packet = ipv4(
            sender.SENDER[0], sender.GROUP[0], 17, body[at : at + size], ip_id=ip_id, fragment=more | at // 8
        )
        yield head + packet


def test_a_datagram_cut_by_the_snapshot_length_is_restored_from_parity(film, station, received, tmp_path):
    sent = sender.entry(film, FORMAT)
    received(sent)
    raw = bytearray((tmp_path / "multicast.pcap").read_bytes())
    at = 24
    for _ in range(7):
        at += 16 + int.from_bytes(raw[at + 8 : at + 12], "little")
    size = int.from_bytes(raw[at + 8 : at + 12], "little")
    del raw[at + 16 + 400 : at + 16 + size]
    raw[at + 8 : at + 12] = (400).to_bytes(4, "little")
    (tmp_path / "cut.pcap").write_bytes(raw)
    documents = station((FORMAT, film.header))
    case = mmsforensics.analyze([tmp_path / "cut.pcap", documents], out=tmp_path / "case")
    (session,) = rows(case, "sessions")
    assert (session["packets_received"], session["packets_missing"]) == (len(film.packets) - 1, 1)
    assert {r["packet_number"] for r in rows(case, "restored")} == {7}
    (playable,) = rows(case, "media", kind="playable")
    assert playable["packets"] == len(film.packets)
    assert deep(case) == []


def test_groups_of_ipv6(film, station, received):
    group, adapter = ("ff3e::8000:1", 0x4A41), ("2001:db8::10", 50000)
    path = station((FORMAT, film.header), group=group, adapter=adapter[0])
    sent = sender.entry(film, FORMAT)
    case = received(sent, path, group=group, sender=adapter)
    assert files(case) == [sender.faithful(film.header, film.packet_size, sent)]
    (session,) = rows(case, "sessions")
    assert (session["client_ip"], session["url"]) == (group[0], "asfm://[ff3e::8000:1]:19009")


def test_unicast_is_recognised_by_its_parity(film, station, received):
    path = station((FORMAT, film.header), group=("192.0.2.99", 0x4A41))
    sent = sender.entry(film, FORMAT)
    case = received(sent, path, group=("192.0.2.99", 0x4A41))
    assert files(case) == [sender.faithful(film.header, film.packet_size, sent)]


def test_other_multicasts_are_left_alone(received):
    rng = random.Random(1)
    noise = [bytes([0x80, 0x21]) + i.to_bytes(2, "big") + rng.randbytes(1300) for i in range(50)]  # RTP
    case = received(noise)
    assert rows(case, "sessions") == []
    mdns = [b"\0\0\x84\0" + rng.randbytes(60) for _ in range(50)]
    assert rows(received(mdns), "sessions") == []


def test_mms_over_udp_is_still_mms(tmp_path):
    from conftest import SAMPLES

    case = mmsforensics.analyze([SAMPLES / "mmsu_vlc_small.pcap"], out=tmp_path / "case")
    assert [s["transport"] for s in rows(case, "sessions")] == ["mmsu"]


def test_noise_on_the_group_is_told_and_passed_over(film, station, received):
    sent = [s.datagram for s in sender.entry(film, FORMAT)]
    noisy = [*sent[:20], b"noise", b"", b"\xff" * 40, *sent[20:]]
    case = received(noisy, station((FORMAT, film.header)))
    assert files(case) == [sender.faithful(film.header, film.packet_size, sender.entry(film, FORMAT))]
    (said,) = details(case, "Malformed")
    assert said["length"] == 45


@pytest.mark.parametrize("later", [30, 300])
def test_a_parity_packet_that_comes_late_restores_nothing_that_was_seen(station, received, tmp_path, later):
    small = AsfFile.read(make_asf(tmp_path / "small.wmv", packet_size=200))
    sent = sender.entry(small, FORMAT)
    at = [i for i, s in enumerate(sent) if s.parity][3]
    arrived = [*sent[:at], *sent[at + 1 : at + later], sent[at], *sent[at + later :]]
    case = received(arrived, station((FORMAT, small.header)))
    assert files(case) == [sender.faithful(small.header, small.packet_size, sent)]
    assert rows(case, "restored") == []
    (counts,) = details(case, "MsbErrorCorrection")
    assert (counts["beyond_repair"], counts["contradicted"]) == (0, 0)


def test_a_stray_number_costs_no_packet(film, station, received):
    sent = sender.entry(film, FORMAT)
    stray = sender.Sent(0x70000000, FORMAT, sent[3].asf)
    near = sender.Sent(4000, FORMAT, sent[3].asf)
    case = received([*sent[:20], stray, near, *sent[20:]], station((FORMAT, film.header)))
    assert sender.faithful(film.header, film.packet_size, sent) in files(case)


@pytest.mark.parametrize("seed", range(6))
def test_damaged_packets_do_no_harm(film, station, received, seed):
    """Headers, error correction data and contents changed anywhere, packets doubled, lost and overtaken."""
    rng = random.Random(seed)
    datagrams = []
    for packet in sender.disturbed(sender.entry(film, FORMAT), seed, lost=0.1, doubled=0.1, shift=5):
        raw = bytearray(packet.datagram)
        for _ in range(rng.choice([0, 0, 1, 3])):
            raw[rng.choice([rng.randrange(12), rng.randrange(len(raw))])] = rng.randrange(256)
        datagrams.append(bytes(raw[: rng.choice([len(raw)] * 9 + [rng.randrange(len(raw))])]))
    case = received(datagrams, station((FORMAT, film.header)))
    assert deep(case) == []


def test_numbers_without_end_are_followed_only_so_far(film, received):
    """Each packet begins a numbering: none is media, all are counted."""
    asf = film.packets[0]
    case = received([sender.Sent(i * 100_000, FORMAT, asf).datagram for i in range(300)])
    assert rows(case, "sessions") == []
    (capture,) = rows(case, "captures")
    assert capture["unclaimed_datagrams"] == 300


def test_mms_beside_it_is_another_session(film, station, tmp_path):
    asf = make_asf(tmp_path / "other.wmv")
    conversation, _ = transcript({"other.wmv": asf}, None)
    sent = sender.entry(film, FORMAT)
    frames = interleaved(sender.frames([s.datagram for s in sent]), frames_of(conversation))
    path = write_pcap(tmp_path / "a.pcap", frames)
    case = mmsforensics.analyze([path, station((FORMAT, film.header))], out=tmp_path / "case")
    assert {s["transport"] for s in rows(case, "sessions")} == {"msb", "mmst"}
    assert sender.faithful(film.header, film.packet_size, sent) in files(case)
