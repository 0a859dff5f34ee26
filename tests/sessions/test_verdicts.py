"""The verdict on each medium, and its reasons: good ones too."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest
from builders import FIN, read_pcap, write_pcap
from cases import rows
from click.testing import CliRunner
from conftest import ROOT, SAMPLES
from peers.mmsh_server import MmshOptions
from peers.mmsh_server import transcript as mmsh_transcript
from peers.mmst_server import transcript
from peers.recorder import frames_of, hung_up
from test_download import conversation

from mmsforensics.cli import main
from mmsforensics.sessions import LOSS_WORDS, REASONS, VERDICTS


def verdict(case):
    """The verdict on the only faithful medium, and its reasons with their counts."""
    (medium,) = rows(case, "media", kind="faithful")
    found = {r["reason"]: r["count"] for r in rows(case, "verdicts", media_id=medium["media_id"])}
    assert found.keys() <= REASONS.keys()
    return medium["verdict"], found


def frames_until(frames, part):
    return frames[: int(len(frames) * part)]


def test_a_whole_session(film, analyzed, tmp_path):
    conversation, (segment,) = transcript({"film.wmv": film})
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames_of(conversation)))
    word, found = verdict(case)
    assert word == "complete"
    assert found == {
        "end of stream": None,
        "all sequence numbers seen": len(segment.packets),
        "all bytes seen": None,
    }
    (end,) = rows(case, "events", event="ReportEndOfStream")
    (said,) = rows(case, "verdicts", reason="end of stream")
    assert (said["frame"], said["capture_id"]) == (end["frame"], end["capture_id"])


def test_packets_lost_from_a_whole_session(film, analyzed, tmp_path):
    conversation, (segment,) = transcript({"film.wmv": film})
    frames = frames_of(conversation)
    media = [i for i, (frame, _) in enumerate(frames) if len(frame) > 1400]
    lost = media[len(media) // 2]
    case = analyzed(write_pcap(tmp_path / "a.pcap", [f for i, f in enumerate(frames) if i != lost]))
    word, found = verdict(case)
    missing = rows(case, "media", kind="faithful")[0]["packets_missing"]
    assert word == f"complete but for {missing} packet" + "s" * (missing > 1)
    assert found["packets missing"] == missing == len(segment.packets) - len(rows(case, "media_packets"))
    assert found["hole"] == len(frames[lost][0]) - 54
    assert "all sequence numbers seen" not in found
    runs = {r["run"]: r for r in rows(case, "loss")}.values()
    assert found.get("packets hurt", 0) == sum(r["packets_hurt"] for r in runs)
    (hole,) = rows(case, "verdicts", reason="hole")
    (gap,) = rows(case, "events", event="Gap")
    assert hole["frame"] == gap["frame"]


def test_a_header_of_whose_packets_none_was_wholly_captured_counts_what_is_missing(film, analyzed, tmp_path):
    conversation, _ = transcript({"film.wmv": film})
    # Every packet is larger than two frames, the header smaller than one cut by the snapshot length.
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames_of(conversation), snaplen=1000))
    (session,) = rows(case, "sessions")
    (medium,) = rows(case, "media")
    assert (medium["kind"], medium["verdict"]) == ("header", "header only")
    assert medium["packets_missing"] == session["packets_missing"] > 0
    found = {r["reason"]: r["count"] for r in rows(case, "verdicts")}
    assert found["packets missing"] == medium["packets_missing"]
    assert "hole" in found


def test_the_capture_ends_in_the_middle(film, analyzed, tmp_path):
    conversation, (segment,) = transcript({"film.wmv": film})
    frames = frames_until(frames_of(conversation), 0.6)
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames))
    word, found = verdict(case)
    assert (word, "end of stream" in found, "capture ended" in found) == ("partial", False, True)
    seen = len(rows(case, "media_packets"))
    assert found["declares more packets"] == len(segment.packets) - seen


BROKEN = {
    "mmst": (transcript, None, 1755),
    "mmsh": (mmsh_transcript, MmshOptions(), 80),
    "mmsh in chunks": (mmsh_transcript, MmshOptions(chunked="always"), 80),
}


@pytest.mark.parametrize("how", ["open", "reset", "server closes"])
@pytest.mark.parametrize(("script", "options", "port"), BROKEN.values(), ids=BROKEN)
def test_a_packet_that_was_being_sent_is_no_hole(film, analyzed, tmp_path, script, options, port, how):
    """Broken off in the middle of a packet: all that was sent was captured."""
    conversation, (segment,) = script({"film.wmv": film}, options)
    sent = segment.packets[12][1]
    at = next(i for i, (side, data) in enumerate(conversation) if side == "s" and sent[:90] in data)
    conversation = [*conversation[:at], ("s", conversation[at][1][:300])]
    frames = frames_of(conversation, server=("192.0.2.10", port))
    if how == "server closes":
        (first, early), (second, late) = frames[-3:-1]
        frames[-3:-1] = [(second, early), (first, late)]
    else:
        frames = hung_up(frames, how)
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames))
    _, found = verdict(case)
    assert {"all bytes seen", "all sequence numbers seen"} <= found.keys()
    assert not {"hole", "hole at the end", "packets hurt"} & found.keys()
    assert not rows(case, "events", event="Malformed")
    (end,) = [e for e in rows(case, "events", event="StreamEnd") if e["direction"] == "server"]
    assert json.loads(end["details"])["bytes_left"] > 0


def test_the_client_stops(film, analyzed, tmp_path):
    """Its StopPlaying comes, and nothing behind it is sent."""
    conversation, _ = transcript({"film.wmv": film}, seek=(8, 20))
    stop = next(
        i for i, (side, data, *_) in enumerate(conversation) if side == "c" and data[36:38] == b"\x09\x00"
    )
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames_of(conversation[: stop + 1])))
    word, found = verdict(case)
    assert (word, "client stopped" in found) == ("partial", True)
    (stopped,) = rows(case, "events", event="StopPlaying")
    assert rows(case, "verdicts", reason="client stopped")[0]["frame"] == stopped["frame"]


def test_a_live_stream_is_joined(sample_case):
    (session,) = rows(sample_case, "sessions", transport="mmsh")
    (medium,) = rows(sample_case, "media", session_id=session["session_id"], kind="faithful")
    found = {r["reason"]: r["count"] for r in rows(sample_case, "verdicts", media_id=medium["media_id"])}
    first = rows(sample_case, "media_packets", session_id=session["session_id"])[0]["packet_number"]
    assert found["joined a live stream"] == first
    assert "packets not counted" in found
    assert medium["verdict"] == "partial"


def test_the_last_datagrams_of_a_film_are_named_though_nothing_shows_their_loss(analyzed, tmp_path):
    """Only the header knows that there were more: they are not counted, but the medium is not complete."""
    frames = read_pcap(SAMPLES / "mmsu_vlc_small.pcap")
    media = [i for i, (frame, _) in enumerate(frames) if frame[23] == 17]
    case = analyzed(write_pcap(tmp_path / "a.pcap", [f for i, f in enumerate(frames) if i not in media[-2:]]))
    word, found = verdict(case)
    assert (word, found["declares more packets"]) == ("partial", 2)
    (run,) = {r["run"]: r for r in rows(case, "loss")}.values()
    assert (run["first_packet"], run["last_packet"], run["reason"]) == (177, 178, "declared")
    assert run["end_ms"] is None
    assert rows(case, "media")[0]["packets_missing"] == 0
    assert not rows(case, "media")[0]["complete"]


@pytest.mark.parametrize("seed", range(3))
def test_where_the_server_left_packets_out_a_jump_is_no_loss(film, analyzed, tmp_path, seed):
    """Only audio was selected: numbers are left out, the sequence is whole. With a frame lost, just that."""
    conversation, (segment,) = transcript({"film.wmv": film}, streams=(1,))
    frames = frames_of(conversation)
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames))
    word, _ = verdict(case)
    assert (word, rows(case, "loss")) == ("complete", [])
    media = [i for i, (frame, _) in enumerate(frames) if len(frame) > 500][3:-3]
    lost = random.Random(seed).choice(media)
    case = analyzed(write_pcap(tmp_path / "b.pcap", [f for i, f in enumerate(frames) if i != lost]))
    missing = {n for n, _ in segment.packets} - {p["packet_number"] for p in rows(case, "media_packets")}
    (run,) = {r["run"]: r for r in rows(case, "loss")}.values()
    assert run["packets"] == len(missing)
    assert run["first_packet"] <= min(missing) <= max(missing) <= run["last_packet"]


def test_mmsh_says_it_with_its_own_words(film, analyzed, tmp_path):
    exchange, _ = mmsh_transcript({"film.wmv": film})
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames_of(exchange, server=("192.0.2.10", 80))))
    word, found = verdict(case)
    assert (word, "end of stream" in found) == ("complete", True)
    (said,) = rows(case, "verdicts", reason="end of stream")
    assert said["frame"] == rows(case, "events", event="WmspEndOfStream")[-1]["frame"]


def test_a_download(film, analyzed, tmp_path):
    body = Path(film).read_bytes()
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames_of(conversation(body))))
    assert verdict(case) == ("complete", {"body whole": len(body), "all bytes seen": None})
    cut = len(conversation(body)[3][1]) - len(body) // 2
    case = analyzed(write_pcap(tmp_path / "b.pcap", frames_of(conversation(body, cut=cut))))
    word, found = verdict(case)
    assert (word, found["body ended early"]) == ("partial", len(body) - len(body) // 2)
    (run,) = {r["run"]: r for r in rows(case, "loss")}.values()
    assert run["reason"] == "not reached"
    assert run["packets"] == found["packets missing"]


def test_the_connection_is_closed_by_the_server(film, analyzed, tmp_path):
    exchange, _ = transcript({"film.wmv": film}, log=False, close=False)
    frames = [f for f in frames_of(exchange[:-3]) if not f[0][47] & FIN or f[0][34:36] == b"\x06\xdb"]
    word, found = verdict(analyzed(write_pcap(tmp_path / "a.pcap", frames)))
    assert (word, "server closed" in found) == ("partial", True)


def test_a_playlist_goes_on_after_a_word_and_without_one(film, song, analyzed, tmp_path):
    exchange, _ = transcript({"list": [film, song]})
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames_of(exchange)))
    media = rows(case, "media", kind="faithful")
    assert [m["verdict"] for m in media] == ["complete"] * 2
    ends = rows(case, "events", event="ReportEndOfStream")
    frames = [r["frame"] for r in rows(case, "verdicts", reason="end of stream")]
    assert frames == [e["frame"] for e in ends]


FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def without_the_first_media_of_the_second(header, frames):
    """Frames of a playlist but for some behind its second header."""
    first = [n for n, (frame, _) in enumerate(frames) if header in frame][1]
    lost = [n for n in range(first + 1, len(frames)) if len(frames[n][0]) > 1400][1:6]
    return [frame for n, frame in enumerate(frames) if n not in lost]


def test_what_is_lost_before_the_first_packet_of_a_playlists_next_entry_is_counted(film, analyzed, tmp_path):
    """LocationIds begin anew there, sequence numbers go on behind those of the entry before."""
    exchange, _ = transcript({"list": [film, film]})
    kept = without_the_first_media_of_the_second(Path(film).read_bytes()[:60], frames_of(exchange))
    case = analyzed(write_pcap(tmp_path / "a.pcap", kept))
    whole, entry = rows(case, "media", kind="faithful")
    packets = rows(case, "media_packets", media_id=entry["media_id"])
    lost = whole["packets"] - len(packets)
    assert packets[0]["packet_number"] == lost > 0
    assert (entry["verdict"], entry["packets_missing"]) == (f"complete but for {lost} packets", lost)
    runs = rows(case, "loss", media_id=entry["media_id"])
    assert {(r["first_packet"], r["last_packet"], r["packets"]) for r in runs} == {(0, lost - 1, lost)}


@pytest.mark.parametrize("live", [False, True])
def test_what_is_lost_between_two_holes_of_a_playlist_is_not_said_to_be_counted(
    film, live, analyzed, tmp_path
):
    """Of the packets lost behind an entry and before the next one's first, none says whose they were."""
    content = bytearray(Path(film).read_bytes())
    content[content.index(FILE_PROPERTIES) + 88] |= live  # the broadcast flag [ASF 3.2]
    (tmp_path / "next.wmv").write_bytes(content)
    exchange, _ = transcript({"list": [film, str(tmp_path / "next.wmv")]})
    header = bytes(content[:60])
    kept = without_the_first_media_of_the_second(header, frames_of(exchange))
    second = [n for n, (frame, _) in enumerate(kept) if header in frame][1]
    end = max(n for n in range(second) if len(kept[n][0]) > 1400)
    case = analyzed(write_pcap(tmp_path / "a.pcap", kept[: end - 4] + kept[end + 1 :]))
    entry = rows(case, "media", kind="faithful")[-1]
    assert rows(case, "media_packets", media_id=entry["media_id"])[0]["packet_number"] > 0
    assert entry["verdict"] == "partial"
    said = {r["reason"] for r in rows(case, "verdicts", media_id=entry["media_id"])}
    assert {"more may be missing", "joined a live stream" if live else "starts inside"} <= said
    assert "all sequence numbers seen" not in said


@pytest.mark.parametrize("seed", range(6))
def test_loss_around_a_seek_is_counted_whole_and_numbered_where_it_can_be(film, analyzed, tmp_path, seed):
    exchange, segments = transcript({"film.wmv": film}, seek=(12, 3))
    frames = frames_of(exchange)
    rng = random.Random(seed)
    begin = next(i for i, (frame, _) in enumerate(frames) if len(frame) > 1400) + 4
    kept = [f for i, f in enumerate(frames) if i < begin or len(f[0]) < 1000 or rng.random() > 0.06]
    case = analyzed(write_pcap(tmp_path / "a.pcap", kept))
    sent = [n for segment in segments for n, _ in segment.packets]
    missing = Counter(sent) - Counter(p["packet_number"] for p in rows(case, "media_packets"))
    runs = {r["run"]: r for r in rows(case, "loss")}.values()
    assert sum(r["packets"] for r in runs) == missing.total()
    sure = [r for r in runs if not r["inferred"]]
    assert sure
    assert all(r["last_packet"] - r["first_packet"] + 1 == r["packets"] for r in sure)
    named = Counter(n for r in sure for n in range(r["first_packet"], r["last_packet"] + 1))
    assert not named - missing


# --- words ---------------------------------------------------------------------------------------------


def test_every_word_is_defined_in_the_documentation():
    text = (ROOT / "docs" / "sessions.md").read_text(encoding="utf-8")
    for word, meaning in (*VERDICTS.items(), *REASONS.items()):
        assert f"| `{word}` | {meaning} |" in text
    assert all(re.search(rf"^\| `{word}` \|", text, re.MULTILINE) for word in LOSS_WORDS.values())


def test_the_command_media_shows_them(sample_case):
    done = CliRunner().invoke(main, ["media", str(sample_case.path)], env={"COLUMNS": "400"})
    assert done.exit_code == 0, done.output
    assert "complete" in done.output
    assert "the server said that it had sent everything" in done.output
