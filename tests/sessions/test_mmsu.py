"""MMS over UDP: a real VLC session, its datagrams disturbed as networks disturb them."""

from __future__ import annotations

import random

import pytest
from builders import read_pcap, write_pcap
from cases import events, faithful_files, rows
from conftest import SAMPLES

CAPTURE = SAMPLES / "mmsu_vlc_small.pcap"


def media_of(found):
    """Positions of the frames with media packets: UDP, the header's packet apart."""
    udp = [i for i, (frame, _) in enumerate(found) if frame[23] == 17]
    return udp[1:]


def truth(sample_case):
    (session,) = rows(sample_case, "sessions", transport="mmsu")
    (medium,) = rows(sample_case, "media", session_id=session["session_id"], kind="faithful")
    return (sample_case.path / medium["path"]).read_bytes()


@pytest.mark.parametrize("seed", range(4))
def test_datagrams_in_disorder_and_sent_again_are_put_right(sample_case, analyzed, tmp_path, seed):
    found = read_pcap(CAPTURE)
    rng = random.Random(seed)
    media = media_of(found)
    keys = {i: i + rng.uniform(0, 9) if i in media else i for i in range(len(found))}
    order = sorted(keys, key=keys.__getitem__)
    order += rng.sample(media, 20)  # resent, bit-identical, long after
    stamps = sorted(ts for _, ts in found) + [found[-1][1] + n for n in range(20)]
    path = write_pcap(tmp_path / "a.pcap", [(found[i][0], ts) for i, ts in zip(order, stamps, strict=True)])
    case = analyzed(path)
    assert faithful_files(case) == [truth(sample_case)]
    (session,) = rows(case, "sessions")
    assert (session["packets_missing"], session["outcome"]) == (0, "completed")


def test_lost_datagrams_are_counted_and_cost_nothing_else(sample_case, analyzed, tmp_path):
    found = read_pcap(CAPTURE)
    lost = set(random.Random(7).sample(media_of(found)[1:-1], 12))
    case = analyzed(write_pcap(tmp_path / "a.pcap", [f for i, f in enumerate(found) if i not in lost]))
    whole = truth(sample_case)
    (got,) = faithful_files(case)
    assert len(whole) - len(got) == 12 * 1400
    (session,) = rows(case, "sessions")
    assert session["packets_missing"] == 12
    assert session["packets_received"] == 179 - 12


def test_a_datagram_cut_by_the_snapshot_length_is_left_out(sample_case, analyzed, tmp_path):
    found = read_pcap(CAPTURE)
    cut = media_of(found)[50]
    path = tmp_path / "a.pcap"
    write_pcap(path, found)
    raw = bytearray(path.read_bytes())
    at = 24
    for _ in range(cut):
        at += 16 + int.from_bytes(raw[at + 8 : at + 12], "little")
    size = int.from_bytes(raw[at + 8 : at + 12], "little")
    del raw[at + 16 + 200 : at + 16 + size]
    raw[at + 8 : at + 12] = (200).to_bytes(4, "little")
    path.write_bytes(raw)
    case = analyzed(path)
    (session,) = rows(case, "sessions")
    assert session["packets_received"] == 178
    assert session["packets_missing"] == 1


def test_data_without_their_control_connection_are_a_session_where_they_agree(analyzed, tmp_path):
    found = read_pcap(CAPTURE)
    case = analyzed(write_pcap(tmp_path / "a.pcap", [found[i] for i in media_of(found)]))
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["client_ip"]) == ("mmsu", "192.0.2.20")
    (medium,) = rows(case, "media")
    assert (medium["kind"], medium["packets"]) == ("packets", 179)
    (capture,) = rows(case, "captures")
    assert capture["unclaimed_datagrams"] == 0


def test_data_without_their_control_connection_are_counted_where_they_do_not_agree(analyzed, tmp_path):
    found = read_pcap(CAPTURE)
    case = analyzed(write_pcap(tmp_path / "a.pcap", [found[i] for i in media_of(found)[::10]]))
    assert rows(case, "sessions") == []
    (capture,) = rows(case, "captures")
    assert capture["unclaimed_datagrams"] == 18
    assert events(case) == []


def test_media_whose_header_was_lost_are_listed_and_change_no_outcome(sample_case, analyzed, tmp_path):
    found = read_pcap(CAPTURE)
    header = media_of(found)[0] - 5
    case = analyzed(write_pcap(tmp_path / "a.pcap", [f for i, f in enumerate(found) if i != header]))
    (session,) = rows(case, "sessions")
    assert (session["outcome"], session["packets_received"]) == ("completed", 179)
    assert [m["kind"] for m in rows(case, "media")] == ["packets"]
    assert [p["packet_number"] for p in rows(case, "media_packets")] == list(range(179))
    assert "MediaWithoutHeader" in events(case)
    assert rows(case, "captures")[0]["unclaimed_datagrams"] == 0
