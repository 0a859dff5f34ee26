"""The sample captures, made with real programs, give what they must; independent programs agree."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections import Counter
from pathlib import Path

import duckdb
import mutagen.asf
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cases import rows
from conftest import SAMPLES

CAPTURES = sorted(json.loads((SAMPLES / "expected.json").read_text(encoding="utf-8")))
PLAYABLE = "playable"
TSHARK_COMMANDS = ["-Y", "msmms.command", "-T", "fields"]
for _field in ("to-client-id", "to-server-id"):
    TSHARK_COMMANDS += ["-e", f"msmms.command.{_field}"]
FFPROBE = ["-v", "error", "-show_format", "-show_streams", "-of", "json"]


def capture_id(case, capture: str) -> str:
    (row,) = [r for r in rows(case, "captures") if Path(r["path"]).name == capture]
    return row["capture_id"]


def session_of(case, capture: str) -> dict:
    (row,) = rows(case, "sessions", capture_id=capture_id(case, capture))
    return row


def faithful_of(case, capture: str) -> dict:
    (row,) = rows(case, "media", session_id=session_of(case, capture)["session_id"], kind="faithful")
    return row


@pytest.mark.parametrize("capture", CAPTURES)
def test_the_medium_is_recovered_byte_for_byte(sample_case, expected, capture):
    want, medium = expected[capture], faithful_of(sample_case, capture)
    data = (sample_case.path / medium["path"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == medium["sha256"] == want["sha256"]
    assert (len(data), medium["packets"]) == (want["bytes"], want["packets"])
    assert medium["packets_missing"] == 0


@pytest.mark.parametrize("capture", CAPTURES)
def test_the_session_says_what_was_asked_for(sample_case, expected, capture):
    session = session_of(sample_case, capture)
    assert session["url"] == expected[capture]["url"]
    assert session["transport"] == expected[capture]["transport"]
    assert session["packets_received"] == expected[capture]["packets"]
    assert session["server_ip"] == "192.0.2.10"
    assert session["client_ip"] == "192.0.2.20"


@pytest.mark.parametrize("capture", CAPTURES)
def test_the_tables_hold_the_tags_and_mutagen_reads_the_same(sample_case, expected, capture):
    want = expected[capture]["metadata"]
    for medium in rows(sample_case, "media", session_id=session_of(sample_case, capture)["session_id"]):
        for column in ("title", "author", "copyright"):
            assert medium[column] == want.get(column, medium[column])
        if medium["kind"] == "faithful" and "vlcserver" in capture:
            # VLC's header states one object too many: mutagen reads the repaired copy only.
            with pytest.raises(mutagen.asf.error):
                mutagen.asf.ASF(sample_case.path / medium["path"])
            continue
        tags = mutagen.asf.ASF(sample_case.path / medium["path"])
        for name, column in (("Title", "title"), ("Author", "author"), ("Copyright", "copyright")):
            assert medium[column] == str(tags.get(name, [""])[0])


@pytest.mark.parametrize("capture", CAPTURES)
def test_every_byte_comes_from_the_frame_that_provenance_names(sample_case, capture):
    """The files are rebuilt from the captures through the table alone (captures here are all pcap)."""
    raw = (SAMPLES / capture).read_bytes()
    frames = frames_of(raw)
    for medium in rows(sample_case, "media", session_id=session_of(sample_case, capture)["session_id"]):
        data = (sample_case.path / medium["path"]).read_bytes()
        at = 0
        for piece in rows(sample_case, "provenance", media_id=medium["media_id"]):
            assert piece["file_offset"] == at, "the rows cover the file without hole or overlap"
            at += piece["length"]
            got = data[piece["file_offset"] : at]
            if piece["kind"] == "captured":
                begin = piece["frame_offset"]
                assert frames[piece["frame"] - 1][begin : begin + piece["length"]] == got
            else:
                assert piece["frame"] is None
            if piece["kind"] == "padding":
                assert not any(got)
        assert at == len(data) == medium["size"]


def frames_of(raw: bytes) -> list[bytes]:
    """Frames of a little-endian pcap file, by the format's description alone."""
    found, at = [], 24
    while at < len(raw):
        size = int.from_bytes(raw[at + 8 : at + 12], "little")
        found.append(raw[at + 16 : at + 16 + size])
        at += 16 + size
    return found


@pytest.mark.parametrize("capture", CAPTURES)
def test_ffprobe_reads_every_file_without_an_error(sample_case, expected, capture, program):
    ffprobe = program("ffprobe")
    for medium in rows(sample_case, "media", session_id=session_of(sample_case, capture)["session_id"]):
        done = subprocess.run(
            [
                ffprobe,
                *FFPROBE,
                sample_case.path / medium["path"],
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        seen = json.loads(done.stdout)
        streams = rows(sample_case, "media_streams", media_id=medium["media_id"])
        assert sorted(s["codec"] for s in streams) == sorted(s["codec_name"] for s in seen["streams"])
        assert sorted(expected[capture]["codecs"]) == sorted(s["codec"] for s in streams)
        by_codec = {s["codec_name"]: s for s in seen["streams"]}
        for ours in streams:
            theirs = by_codec[ours["codec"]]
            for column in ("width", "height", "channels", "sample_rate"):
                if ours[column] is not None:
                    assert ours[column] == int(theirs[column])
        assert medium["size"] == int(seen["format"]["size"])
        tags = seen["format"].get("tags", {})
        assert medium["title"] == tags.get("title", "")
        assert medium["author"] == tags.get("artist", "")
        if medium["duration_ms"] is not None and "duration" in seen["format"]:
            # ffprobe adds the length of the last frame to what the header says
            assert abs(float(seen["format"]["duration"]) * 1000 - medium["duration_ms"]) <= 250


@pytest.mark.parametrize("capture", [c for c in CAPTURES if not c.startswith("http")])
def test_ffmpeg_decodes_as_much_as_of_the_medium_sent(sample_case, capture, program):
    """Of a live stream joined in the middle the first frame is no key frame; nothing else is wrong."""
    ffmpeg = program("ffmpeg")
    for medium in rows(sample_case, "media", session_id=session_of(sample_case, capture)["session_id"]):
        path = sample_case.path / medium["path"]
        done = subprocess.run(
            [ffmpeg, "-v", "error", "-i", str(path), "-f", "null", "-"],
            capture_output=True,
            text=True,
            check=True,
        )
        complaints = [c for c in done.stderr.splitlines() if "first frame is no keyframe" not in c]
        assert complaints == []


@pytest.mark.parametrize("capture", [c for c in CAPTURES if c.startswith("mms") and "mmsh" not in c])
def test_tshark_counts_the_same_commands(sample_case, capture, program):
    """By direction and type. Its media packets are not counted: it takes the sequence number in AFFlags
    for flags, and drops most of them over TCP."""
    tshark = program("tshark")
    done = subprocess.run(
        [tshark, "-r", SAMPLES / capture, *TSHARK_COMMANDS],
        capture_output=True,
        text=True,
        check=True,
    )
    theirs: Counter = Counter()
    for line in done.stdout.splitlines():
        to_client, _, to_server = line.partition("\t")
        for direction, found in (("server", to_client), ("client", to_server)):
            theirs.update((direction, int(v, 0)) for v in found.split(",") if v)
    ours: Counter = Counter()
    for event in rows(sample_case, "events", session_id=session_of(sample_case, capture)["session_id"]):
        mid = json.loads(event["details"]).get("mid")
        if mid is not None:
            ours[event["direction"], mid & 0xFFFF] += 1
    assert ours == theirs
    assert sum(ours.values()) >= 13


def test_the_describing_connection_and_the_playing_one_are_one_session(sample_case):
    session = session_of(sample_case, "mmsh_vlcserver_mplayer.pcap")
    requests = rows(sample_case, "events", session_id=session["session_id"], event="HttpRequest")
    assert [r["frame"] for r in requests] == [4, 16]


def test_a_live_stream_gets_a_playable_copy_with_a_duration(sample_case):
    session = session_of(sample_case, "mmsh_vlcserver_mplayer.pcap")
    faithful, playable = rows(sample_case, "media", session_id=session["session_id"])
    assert (faithful["kind"], faithful["duration_ms"]) == ("faithful", None)
    assert playable["kind"] == PLAYABLE
    assert 2000 < playable["duration_ms"] < 7000


def test_pandas_and_duckdb_read_the_tables(sample_case):
    folder = sample_case.path / "tables" / "sessions"
    frame = pd.read_parquet(folder)
    assert str(frame["start_ts"].dtype) == "datetime64[ns, UTC]"
    assert len(frame) == len(CAPTURES)
    count = duckdb.sql(f"SELECT count(*), min(start_ts) FROM '{folder}/*.parquet'").arrow()
    assert pa.table(count)[0][0].as_py() == len(CAPTURES)
    schema = pq.read_schema(folder / "part-0.parquet")
    assert schema.field("media_bytes").metadata[b"unit"] == b"bytes"
    assert all(field.metadata[b"doc"] for field in schema)


def test_case_tables_are_data_frames_with_arrow_types(sample_case):
    assert isinstance(sample_case.sessions["start_ts"].dtype, pd.ArrowDtype)
    assert sample_case.media_packets.groupby("session_id").size().sum() == np.sum(
        sample_case.sessions["packets_received"]
    )
    with pytest.raises(AttributeError, match="no table 'sesions'"):
        _ = sample_case.sesions
