"""Partial copies of the same content joined: what one viewer's capture lost, another's holds."""

from __future__ import annotations

import hashlib
import ipaddress
import random
import struct
import subprocess

import pytest
from builders import checksum, ipv4, pseudo_header, read_pcap, write_pcap
from cases import rows
from click.testing import CliRunner
from conftest import SAMPLES
from peers.asf_file import faithful
from peers.media import make_asf
from peers.mmst_server import MmstOptions, transcript
from peers.recorder import START, frames_of

import mmsforensics
from mmsforensics.asf import parse_header
from mmsforensics.case.explain import origins_of
from mmsforensics.cli import main

MMS = [
    "mmst_ffmpeg_video.pcap",
    "mmst_mplayer_audio_unicode.pcap",
    "mmst_small_packets_split_header.pcap",
    "mmsu_vlc_small.pcap",
]
SECOND = 1_000_000_000
LIVE = SAMPLES / "mmsh_vlcserver_mplayer.pcap"


def text_of(frame, at):
    return str(ipaddress.ip_address(bytes(frame[at : at + 4])))


def sealed(frame):
    """An Ethernet frame with IPv4 whose checksums are right again."""
    frame = bytearray(frame)
    frame[24:26] = b"\0\0"
    frame[24:26] = struct.pack(">H", checksum(bytes(frame[14:34])))
    end = 14 + int.from_bytes(frame[16:18], "big")
    at = 34 + (16 if frame[23] == 6 else 6)
    frame[at : at + 2] = b"\0\0"
    segment = bytes(frame[34:end])
    head = pseudo_header(text_of(frame, 26), text_of(frame, 30), frame[23], len(segment))
    frame[at : at + 2] = struct.pack(">H", checksum(head + segment) or 0xFFFF)
    return bytes(frame)


def moved(frames, old, new, later=0):
    """The same conversation with another address in the place of `old`, some time later."""
    a, b = ipaddress.ip_address(old).packed, ipaddress.ip_address(new).packed
    out = []
    for frame, ts in frames:
        ends = [b if end == a else end for end in (frame[26:30], frame[30:34])]
        out.append((sealed(frame[:26] + b"".join(ends) + frame[34:]), ts + later))
    return out


def viewers(frames, count):
    """The conversation of `count` viewers, each with an address and a second of its own."""
    client = text_of(frames[0][0], 26)
    return [frames, *(moved(frames, client, f"192.0.2.{100 + k}", k * SECOND) for k in range(1, count))]


def disjoint_losses(frames, seed, count, share=0.15):
    """For each viewer frames with media that are lost: none that is near another's."""
    media = [i for i, (frame, _) in enumerate(frames) if len(frame) > 400][6:]
    spots = media[::9]
    random.Random(seed).shuffle(spots)
    size = max(int(len(media) * share / count), 1)
    chosen = spots[: size * count]
    return [set(chosen[k::count]) for k in range(count)]


def without(frames, lost):
    return [f for i, f in enumerate(frames) if i not in lost]


def analyzed(tmp_path, *parts, merge=True, name="a"):
    frames = sorted((f for part in parts for f in part), key=lambda f: f[1])
    path = write_pcap(tmp_path / f"{name}.pcap", frames)
    return mmsforensics.analyze([path], out=tmp_path / f"{name}-case", merge=merge)


def content(case, medium):
    return (case.path / medium["path"]).read_bytes()


def wrong(case):
    return [c for c in mmsforensics.verify(case, deep=True) if not c.ok]


# --- merged --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MMS)
@pytest.mark.parametrize("seed", [1, 2])
def test_two_viewers_with_different_losses_give_the_whole(expected, tmp_path, name, seed):
    one, two = viewers(read_pcap(SAMPLES / name), 2)
    a, b = disjoint_losses(one, seed, 2)
    case = analyzed(tmp_path, without(one, a), without(two, b))
    first, second = rows(case, "media", kind="faithful")
    assert not first["complete"]
    assert not second["complete"]
    (merged,) = rows(case, "media", kind="merged")
    assert merged["sha256"] == expected[name]["sha256"]
    assert (merged["packets"], merged["packets_missing"]) == (expected[name]["packets"], 0)
    assert merged["complete"]
    assert merged["merged_from"] == [first["media_id"], second["media_id"]]
    assert merged["session_id"] == first["session_id"]
    assert wrong(case) == []
    runs = rows(case, "merges", media_id=merged["media_id"])
    assert {r["kind"] for r in runs} == {"run"}
    assert sum(r["packets"] for r in runs) == merged["packets"]
    numbers = [n for r in runs for n in range(r["first_packet"], r["last_packet"] + 1)]
    assert numbers == [p["packet_number"] for p in rows(case, "media_packets", media_id=merged["media_id"])]


def test_what_the_second_viewer_gave_has_its_frames(tmp_path):
    """The runs say whose bytes were taken; provenance names frames of that viewer and no others."""
    one, two = viewers(read_pcap(SAMPLES / MMS[0]), 2)
    a, b = disjoint_losses(one, 3, 2)
    folder = [
        write_pcap(tmp_path / "one.pcap", without(one, a)),
        write_pcap(tmp_path / "two.pcap", without(two, b)),
    ]
    case = mmsforensics.analyze(folder, out=tmp_path / "case", merge=True)
    (merged,) = rows(case, "media", kind="merged")
    capture_of = {"c001-s0001-m1-faithful": "c001", "c002-s0001-m1-faithful": "c002"}
    taken = {}
    for run in rows(case, "merges", kind="run"):
        for number in range(run["first_packet"], run["last_packet"] + 1):
            taken[number] = capture_of[run["source_media_id"]]
    assert set(taken.values()) == {"c001", "c002"}
    held = {p["packet_number"] for p in rows(case, "media_packets", media_id="c001-s0001-m1-faithful")}
    assert {n for n, capture in taken.items() if capture == "c001"} == held, "the first one where it can"
    for packet in rows(case, "media_packets", media_id=merged["media_id"]):
        origins = origins_of(case, merged["media_id"], packet["file_offset"], 3200)
        captured = {o.capture_id for o in origins if o.kind == "captured"}
        assert captured == {taken[packet["packet_number"]]}


def test_the_merged_medium_is_explained_and_plays(program, tmp_path):
    one, two = viewers(read_pcap(SAMPLES / MMS[0]), 2)
    a, b = disjoint_losses(one, 1, 2)
    case = analyzed(tmp_path, without(one, a), without(two, b))
    (merged,) = rows(case, "media", kind="merged")
    done = CliRunner().invoke(main, ["explain", str(case.path / merged["path"]), "--at", "20000:40"])
    assert done.exit_code == 0, done.output
    assert "frame.number" in done.output
    (playable,) = [m for m in rows(case, "media", kind="playable") if m["merged_from"]]
    assert playable["path"].endswith(".merged-playable.wmv")
    ffmpeg = [program("ffmpeg"), "-v", "error", "-i", str(case.path / playable["path"]), "-f", "null", "-"]
    played = subprocess.run(ffmpeg, capture_output=True, text=True, check=True)
    assert played.stderr == ""


def test_three_copies_of_which_no_two_are_enough(expected, tmp_path):
    parts = viewers(read_pcap(SAMPLES / MMS[0]), 3)
    a, b, c = disjoint_losses(parts[0], 5, 3, share=0.3)
    lost = [a | b, b | c, c | a]  # each frame is there once
    case = analyzed(tmp_path, *(without(p, gone) for p, gone in zip(parts, lost, strict=True)))
    (merged,) = rows(case, "media", kind="merged")
    assert merged["sha256"] == expected[MMS[0]]["sha256"]
    assert len(merged["merged_from"]) == 3
    assert {r["copies"] for r in rows(case, "merges", kind="run")} >= {1, 3}
    assert wrong(case) == []


def test_viewers_of_different_days(expected, tmp_path):
    """Their captures have nothing to do with each other but the content."""
    one, two = viewers(read_pcap(SAMPLES / MMS[3]), 2)
    a, b = disjoint_losses(one, 1, 2)
    days_later = [(frame, ts + 3 * 86400 * SECOND) for frame, ts in without(two, b)]
    paths = [
        write_pcap(tmp_path / "later.pcap", days_later),
        write_pcap(tmp_path / "first.pcap", without(one, a)),
    ]
    case = mmsforensics.analyze(paths, out=tmp_path / "case", merge=True)
    (merged,) = rows(case, "media", kind="merged")
    assert merged["sha256"] == expected[MMS[3]]["sha256"]
    assert merged["merged_from"] == ["c002-s0001-m1-faithful", "c001-s0001-m1-faithful"]
    assert wrong(case) == []


def in_fragments(frames, cut=776):
    """The frames, each datagram of more than `cut` bytes in two IP fragments."""
    out = []
    for number, (frame, ts) in enumerate(frames):
        body = frame[34 : 14 + int.from_bytes(frame[16:18], "big")]
        if frame[23] != 17 or len(body) <= cut:
            out.append((frame, ts))
            continue
        src, dst = text_of(frame, 26), text_of(frame, 30)
        for part, flags in ((body[:cut], 0x2000), (body[cut:], cut // 8)):
            packet = ipv4(src, dst, 17, part, ip_id=number, fragment=flags)
            out.append((frame[:14] + packet, ts))
    return out


def test_provenance_leads_to_fragments(expected, tmp_path):
    one, two = viewers(read_pcap(SAMPLES / MMS[3]), 2)
    a, b = disjoint_losses(one, 1, 2)
    case = analyzed(tmp_path, in_fragments(without(one, a)), in_fragments(without(two, b)))
    (merged,) = rows(case, "media", kind="merged")
    assert merged["sha256"] == expected[MMS[3]]["sha256"]
    assert wrong(case) == []


def test_packets_that_nobody_has_stay_missing(tmp_path):
    one, two = viewers(read_pcap(SAMPLES / MMS[0]), 2)
    a, b = disjoint_losses(one, 1, 2)
    common = sorted(a)[0]
    case = analyzed(tmp_path, without(one, a), without(two, b | {common}))
    (merged,) = rows(case, "media", kind="merged")
    assert not merged["complete"]
    assert 0 < merged["packets_missing"] == 104 - merged["packets"]


def test_a_live_stream_by_the_packets_that_viewers_have_in_common(expected, tmp_path):
    one, two = viewers(read_pcap(LIVE), 2)
    a, b = disjoint_losses(one, 1, 2)
    case = analyzed(tmp_path, without(one, a), without(two, b))
    (merged,) = rows(case, "media", kind="merged")
    assert merged["sha256"] == expected[LIVE.name]["sha256"]
    assert (merged["packets_missing"], merged["complete"]) == (0, False)


def test_live_viewers_without_a_packet_in_common_are_not_joined(tmp_path):
    """Their headers say the same; whether it was one broadcast, nothing shows."""
    one, two = viewers(read_pcap(LIVE), 2)
    media = [i for i, (frame, _) in enumerate(one) if len(frame) > 1000]
    half = len(media) // 2
    case = analyzed(tmp_path, without(one, set(media[half - 4 :])), without(two, set(media[: half + 4])))
    assert len(rows(case, "media", kind="faithful")) == 2
    assert rows(case, "media", kind="merged") == []
    (refused,) = rows(case, "merges")
    assert (refused["kind"], refused["reason"]) == ("refused", "no packet in common with the others")


def test_a_download_cut_by_holes(expected, tmp_path):
    """The union has the packets; the index behind them is known only from a body without hole."""
    name = "http_curl_whole.pcap"
    one, two = viewers(read_pcap(SAMPLES / name), 2)
    media = [i for i, (frame, _) in enumerate(one) if len(frame) > 1000]
    case = analyzed(tmp_path, without(one, {media[30]}), without(two, {media[100]}))
    (merged,) = rows(case, "media", kind="merged")
    assert merged["packets"] == expected[name]["packets"]
    whole = mmsforensics.analyze([SAMPLES / name], out=tmp_path / "whole")
    file = content(whole, rows(whole, "media", kind="faithful")[0])
    assert content(case, merged) == file[: merged["size"]]


FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def dated(frames):
    """The frames with another creation date in each ASF header [ASF 3.2]."""
    out = frames
    for i, (frame, _) in enumerate(frames):
        if FILE_PROPERTIES in frame:
            out = tampered(out, i, frame.index(FILE_PROPERTIES) + 48)
    return out


def test_headers_that_differ_are_told_and_the_first_is_taken(tmp_path):
    """The same content by its File ID and its packets."""
    one, two = viewers(read_pcap(LIVE), 2)
    a, b = disjoint_losses(one, 1, 2)
    case = analyzed(tmp_path, without(one, a), without(dated(two), b))
    (merged,) = rows(case, "media", kind="merged")
    first, second = (content(case, m)[:600] for m in rows(case, "media", kind="faithful"))
    assert first != second
    assert content(case, merged)[:600] == first
    assert any("headers differ" in note for note in merged["notes"])
    assert wrong(case) == []


# --- not merged ----------------------------------------------------------------------------------------


def test_complete_copies_need_no_merging(tmp_path):
    parts = viewers(read_pcap(SAMPLES / MMS[0]), 2)
    case = analyzed(tmp_path, *parts)
    assert {m["kind"] for m in rows(case, "media")} == {"faithful", "playable"}
    assert rows(case, "merges") == []


def test_nothing_is_merged_unless_it_is_asked_for(tmp_path):
    one, two = viewers(read_pcap(SAMPLES / MMS[0]), 2)
    a, b = disjoint_losses(one, 1, 2)
    parts = without(one, a), without(two, b)
    plain, merged = (analyzed(tmp_path, *parts, merge=m, name=f"m{m}") for m in (False, True))
    assert rows(plain, "merges") == []
    own = [m for m in rows(merged, "media") if not m["merged_from"]]
    assert own == rows(plain, "media")
    assert (plain.manifest["parameters"]["merge"], merged.manifest["parameters"]["merge"]) == (False, True)


def test_another_server_s_content_is_another(tmp_path):
    one, two = viewers(read_pcap(SAMPLES / MMS[0]), 2)
    a, b = disjoint_losses(one, 1, 2)
    elsewhere = moved(two, text_of(one[0][0], 30), "192.0.2.200")
    case = analyzed(tmp_path, without(one, a), without(elsewhere, b))
    assert rows(case, "merges") == []


def test_another_file_is_another(tmp_path):
    """Of the same encoder, which writes no File ID; packet size and streams are the same."""
    files = [make_asf(tmp_path / f"{k}.wma", seconds=k, video=False, packet_size=508) for k in (2, 3)]
    parts = []
    for k, file in enumerate(files):
        conversation, _ = transcript({"song.wma": file})
        parts.append(lose(played(conversation, k), 0.3 + k / 2, least=400))
    case = analyzed(tmp_path, *parts)
    headers = [parse_header(content(case, m)) for m in rows(case, "media", kind="faithful")]
    assert headers[0].file_id == headers[1].file_id == bytes(16)
    assert rows(case, "merges") == []


def scrambled(frames):
    """The frames with other bytes in every full one behind the header."""
    return [
        (
            sealed(frame[:800] + bytes(x ^ 0x55 for x in frame[800:]))
            if len(frame) == 1514 and i > 30
            else frame,
            ts,
        )
        for i, (frame, ts) in enumerate(frames)
    ]


def test_another_content_under_the_same_file_id_is_another(tmp_path):
    one, two = viewers(read_pcap(LIVE), 2)
    a, b = disjoint_losses(one, 1, 2)
    case = analyzed(tmp_path, without(one, a), without(scrambled(dated(two)), b))
    assert len(rows(case, "media", kind="faithful")) == 2
    assert rows(case, "media", kind="merged") == []
    assert rows(case, "merges") == [], "another header: nothing said that it was the same"


def test_the_same_header_with_other_packets_is_refused(tmp_path):
    one, two = viewers(read_pcap(SAMPLES / MMS[0]), 2)
    a, b = disjoint_losses(one, 1, 2)
    case = analyzed(tmp_path, without(one, a), without(scrambled(two), b))
    assert rows(case, "media", kind="merged") == []
    (refused,) = rows(case, "merges")
    assert refused["kind"] == "refused"
    assert refused["source_media_id"] == "c001-s0002-m1-faithful"
    assert refused["media_ids"] == ["c001-s0001-m1-faithful"]
    assert refused["reason"].startswith(f"of {refused['packets']} packets in common")


# --- disagreements -------------------------------------------------------------------------------------


def tampered(frames, index, at=900):
    frame, ts = frames[index]
    changed = sealed(frame[:at] + bytes([frame[at] ^ 0xFF]) + frame[at + 1 :])
    return [*frames[:index], (changed, ts), *frames[index + 1 :]]


def full_frame(frames, number):
    return [i for i, (frame, _) in enumerate(frames) if len(frame) == 1514][number]


def test_most_copies_decide_and_every_version_is_told(expected, tmp_path):
    parts = viewers(read_pcap(SAMPLES / MMS[0]), 3)
    losses = disjoint_losses(parts[0], 1, 3)
    spot = full_frame(parts[0], 60)
    while any(abs(spot - i) < 5 for lost in losses for i in lost):
        spot += 1
    parts[0] = tampered(parts[0], spot)
    case = analyzed(tmp_path, *(without(p, gone) for p, gone in zip(parts, losses, strict=True)))
    (merged,) = rows(case, "media", kind="merged")
    assert merged["sha256"] == expected[MMS[0]]["sha256"], "the tampered version is outvoted"
    assert any("disagree on 1 packets" in note for note in merged["notes"])
    injected, good = rows(case, "merges", kind="disagreement")
    assert injected["media_ids"] == ["c001-s0001-m1-faithful"]
    assert good["media_ids"] == ["c001-s0002-m1-faithful", "c001-s0003-m1-faithful"]
    assert (injected["kept"], good["kept"], good["first_difference"]) == (False, True, None)
    number = injected["first_packet"]
    for version, medium in ((injected, "c001-s0001-m1-faithful"), (good, "c001-s0002-m1-faithful")):
        (packet,) = rows(case, "media_packets", media_id=medium, packet_number=number)
        raw = case.media_path(medium).read_bytes()[packet["file_offset"] :][:3200]
        assert hashlib.sha256(raw).hexdigest() == version["sha256"]
        if version is injected:
            bad = raw
        else:
            differ = [i for i in range(3200) if raw[i] != bad[i]]
            assert differ == [injected["first_difference"]]
    assert wrong(case) == []


def test_one_against_one_the_earlier_is_kept(tmp_path):
    one, two = viewers(read_pcap(SAMPLES / MMS[0]), 2)
    spot = full_frame(one, 60)
    a, b = ({i for i in lost if abs(i - spot) > 5} for lost in disjoint_losses(one, 1, 2))
    case = analyzed(tmp_path, without(tampered(one, spot), a), without(two, b))
    first, second = rows(case, "merges", kind="disagreement")
    assert (first["media_ids"], first["kept"]) == (["c001-s0001-m1-faithful"], True)
    assert (second["media_ids"], second["kept"]) == (["c001-s0002-m1-faithful"], False)


def test_complete_copies_that_disagree_are_told_though_nothing_is_merged(tmp_path):
    one, two = viewers(read_pcap(SAMPLES / MMS[0]), 2)
    case = analyzed(tmp_path, one, tampered(two, full_frame(two, 60)))
    assert rows(case, "media", kind="merged") == []
    told = rows(case, "merges")
    assert [(r["kind"], r["media_id"]) for r in told] == [("disagreement", None)] * 2


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return make_asf(tmp_path_factory.mktemp("media") / "film.wmv", title="Film")


def played(conversation, number):
    return frames_of(conversation, client=("192.0.2.20", 40001 + number), start_ns=START + number * SECOND)


def lose(frames, part, *, least=1000):
    """The frames without a media frame, one of at least that many bytes, at that part of the whole."""
    media = [i for i, (frame, _) in enumerate(frames) if len(frame) > least]
    return without(frames, {media[int(len(media) * part)]})


def test_a_replay_is_no_disagreement(film, tmp_path):
    sought, _ = transcript({"film.wmv": film}, seek=(12, 4))
    straight, (segment,) = transcript({"film.wmv": film})
    case = analyzed(tmp_path, lose(played(sought, 0), 0.9), lose(played(straight, 1), 0.5))
    (merged,) = rows(case, "media", kind="merged")
    assert content(case, merged) == faithful(segment)
    assert {r["kind"] for r in rows(case, "merges")} == {"run"}
    assert wrong(case) == []


def test_stripped_padding_is_no_disagreement(tmp_path):
    """Where it strips padding, a server also says in the packet that there is none."""
    song = make_asf(tmp_path / "song.wma", seconds=1, video=False, packet_size=508)
    stripped, (segment,) = transcript({"song.wma": song}, MmstOptions(padding="zero-field"))
    padded, (other,) = transcript({"song.wma": song}, MmstOptions(padding="keep"))
    assert faithful(segment) != faithful(other)
    one, two = played(stripped, 0), played(padded, 1)
    case = analyzed(tmp_path, lose(one, 0.4, least=400), lose(two, 0.7, least=400))
    (merged,) = rows(case, "media", kind="merged")
    assert merged["packets"] == len(segment.packets)
    assert {r["kind"] for r in rows(case, "merges")} == {"run"}
    assert wrong(case) == []


def test_packets_that_the_server_left_out_are_not_missing(film, tmp_path):
    """Both viewers chose the sound alone: a hole between LocationIds is what nobody was sent."""
    conversation, (segment,) = transcript({"film.wmv": film}, streams=[2])
    numbers = [n for n, _ in segment.packets]
    assert numbers != list(range(numbers[0], numbers[-1] + 1)), "the server leaves packets out"
    one, two = played(conversation, 0), played(conversation, 1)
    case = analyzed(tmp_path, lose(one, 0.3, least=800), lose(two, 0.8, least=800))
    (merged,) = rows(case, "media", kind="merged")
    assert content(case, merged) == faithful(segment)
    assert merged["packets_missing"] == 0


def test_a_viewer_of_fewer_streams_is_not_joined(film, tmp_path):
    """What the server cut out for one viewer would be told as a disagreement on most packets."""
    both, _ = transcript({"film.wmv": film})
    sound, _ = transcript({"film.wmv": film}, streams=[2])
    case = analyzed(tmp_path, lose(played(both, 0), 0.4), played(sound, 1))
    assert rows(case, "media", kind="merged") == []
    (refused,) = rows(case, "merges")
    assert (refused["kind"], refused["source_media_id"]) == ("refused", "c001-s0002-m1-faithful")


# --- the same each time --------------------------------------------------------------------------------


def test_the_same_input_gives_the_same_case(tmp_path):
    parts = viewers(read_pcap(SAMPLES / MMS[0]), 3)
    losses = disjoint_losses(parts[0], 1, 3)
    kept = [without(p, gone) for p, gone in zip(parts, losses, strict=True)]
    hashed = []
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        case = analyzed(tmp_path / name, *kept)
        hashed.append({o["path"]: o["sha256"] for o in case.manifest["outputs"]})
    differ = {path for path in hashed[0] if hashed[0][path] != hashed[1][path]}
    assert differ == {"tables/captures/part-0.parquet"}, "the evidence lies in another folder"


def test_memory_windows_and_chunks_change_nothing(tmp_path, monkeypatch):
    from mmsforensics.case import copies, merging, union

    parts = viewers(read_pcap(SAMPLES / MMS[3]), 3)
    losses = disjoint_losses(parts[0], 1, 3)
    kept = [without(p, gone) for p, gone in zip(parts, losses, strict=True)]
    usual = analyzed(tmp_path, *kept, name="usual")
    monkeypatch.setattr(union, "BUCKET_BITS", 4)
    monkeypatch.setattr(union, "WINDOW_ROWS", 30)
    monkeypatch.setattr(union, "BYTES_AT_ONCE", 10_000)
    monkeypatch.setattr(merging, "BYTES_AT_ONCE", 10_000)
    monkeypatch.setattr(copies, "SAMPLES", 40)
    small = analyzed(tmp_path, *kept, name="small")
    assert rows(small, "merges") == rows(usual, "merges")
    assert rows(small, "media") == rows(usual, "media")


def test_the_command_takes_merge(tmp_path):
    one, two = viewers(read_pcap(SAMPLES / MMS[1]), 2)
    a, b = disjoint_losses(one, 1, 2)
    frames = sorted([*without(one, a), *without(two, b)], key=lambda f: f[1])
    path = write_pcap(tmp_path / "a.pcap", frames)
    done = CliRunner().invoke(main, ["analyze", path, "-o", str(tmp_path / "case"), "--merge", "-q"])
    assert done.exit_code == 0, done.output
    assert rows(mmsforensics.open_case(tmp_path / "case"), "media", kind="merged")
