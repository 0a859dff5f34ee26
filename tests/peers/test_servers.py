"""The test servers themselves: an independent player gets from them what is in the file, and the truth they
keep is what went over the wire. Nothing here uses the package under test."""

import re
import struct
from pathlib import Path

import av
import pytest

from peers import mmsh_server, mmst_server
from peers.asf_file import AsfFile, faithful, padding_length, strip_padding
from peers.media import demux, make_asf
from peers.mmsh_server import MmshOptions, MmshServer
from peers.mmst_server import MmstOptions, MmstServer
from peers.recorder import Recorder, coalesce, frames_of, write_conversation, write_conversations

TIMEOUT = 10


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A file with video and audio."""
    return make_asf(tmp_path_factory.mktemp("media") / "film.wmv", title="Film")


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    """A file with audio in small packets, all of them padded."""
    path = tmp_path_factory.mktemp("media") / "song.wma"
    return make_asf(path, seconds=1, video=False, title="Lied für été", author="Nobody", packet_size=508)


def packets_only(path):
    """Header and packets of a file: what a stream of it holds, without any index."""
    asf = AsfFile.read(path)
    return asf.header + b"".join(asf.packets)


# --- files -----------------------------------------------------------------------------------------


def test_media_is_the_same_each_time(film, tmp_path):
    again = make_asf(tmp_path / "again.wmv", title="Film")
    assert Path(film).read_bytes() == Path(again).read_bytes()


def test_asf_file_agrees_with_libavformat(film, song):
    for path, streams, size in ((film, 2, 3200), (song, 1, 508)):
        asf = AsfFile.read(path)
        with av.open(path) as container:
            assert len(container.streams) == streams == len(asf.streams)
            assert asf.duration == pytest.approx(container.duration / 1e6, abs=0.2)
        assert asf.packet_size == size
        assert all(len(packet) == size for packet in asf.packets)


@pytest.mark.parametrize("mode", ["keep", "zero-field"])
def test_stripped_padding(song, mode):
    asf = AsfFile.read(song)
    sent = [strip_padding(packet, mode) for packet in asf.packets]
    if mode == "zero-field":
        assert all(len(s) == len(p) - padding_length(p) for s, p in zip(sent, asf.packets, strict=True))
        assert all(padding_length(s) == 0 for s in sent)
        assert any(len(s) < asf.packet_size for s in sent)
    else:
        assert sent == list(asf.packets)


# --- MMS over TCP ----------------------------------------------------------------------------------

MMST = [
    MmstOptions(),
    MmstOptions(padding="keep"),
    MmstOptions(header_fragment=200),
    MmstOptions(ping_at=7, record_padding=0xFD, chunk_count="spec"),
]


@pytest.mark.parametrize("options", MMST, ids=["usual", "padded", "header in parts", "ping"])
def test_ffmpeg_plays_mmst(film, options, tmp_path):
    want = demux(film)
    with MmstServer({"film.wmv": film}, options) as server, Recorder(server.port, 1755) as recorder:
        url = f"mmst://127.0.0.1:{recorder.port}/film.wmv"
        assert demux(url, count=len(want), timeout=TIMEOUT) == want
        server.wait()
        recorder.wait()
        recorder.write(tmp_path / "film.pcap")
        (segment,) = server.sent
        assert [number for number, _ in segment.packets] == list(range(len(AsfFile.read(film).packets)))
        if options.padding == "keep":
            assert faithful(segment) == packets_only(film)
        assert media_on_the_wire(recorder.conversations[0], 4) == segment.packets
        assert server.commands[:2] == [("c", mmst_server.CONNECT), ("s", mmst_server.REPORT_CONNECTED_EX)]
        assert not server.errors


def test_ffmpeg_is_told_of_a_missing_file(film):
    with MmstServer({"film.wmv": film}) as server:
        with pytest.raises(av.FFmpegError):
            demux(f"mmst://127.0.0.1:{server.port}/other.wmv", timeout=TIMEOUT)
        server.wait()
        assert server.commands[-1][1] in (mmst_server.REPORT_OPEN_FILE, mmst_server.CLOSE_FILE)
        assert server.sent == []


def mmst_units(conversation, side="s"):
    """Split one side of a conversation into records and Data packets, as [MS-MMSP] 3.1.5.2 says."""
    data = b"".join(item[1] for item in conversation if item[0] == side)
    at = 0
    while at < len(data):
        (session_id,) = struct.unpack_from("<I", data, at + 4)
        record = session_id == mmst_server.SESSION_ID
        if record:
            size = struct.unpack_from("<I", data, at + 8)[0] + 16
        else:
            (size,) = struct.unpack_from("<H", data, at + 6)
        yield record, data[at : at + size]
        at += size
    assert at == len(data)


def data_on_the_wire(conversation):
    """(LocationId, incarnation, AFFlags, payload) of each Data packet."""
    for record, unit in mmst_units(conversation):
        if not record:
            location, incarnation, af_flags, _ = struct.unpack_from("<IBBH", unit)
            yield location, incarnation, af_flags, unit[8:]


def media_on_the_wire(conversation, incarnation):
    """(LocationId, payload) of the Data packets with an incarnation."""
    return [(one[0], one[3]) for one in data_on_the_wire(conversation) if one[1] == incarnation]


def test_mmst_transcript(film):
    asf = AsfFile.read(film)
    commands = []
    conversation, (segment,) = mmst_server.transcript({"film.wmv": film}, commands=commands)
    assert media_on_the_wire(conversation, 10) == segment.packets
    assert media_on_the_wire(conversation, 1) == [(0, asf.header)]
    sequence = [one[2] for one in data_on_the_wire(conversation) if one[1] == 10]
    assert sequence == [i % 256 for i in range(len(asf.packets))]
    logging = next(d for s, d in conversation if s == "c" and d[36:40] == struct.pack("<I", 0x00030032))
    assert struct.unpack_from("<II", logging, 40) == (1490, 1142)
    assert len(logging) == 32 + 188 * 8
    assert commands[-3:] == [
        ("s", mmst_server.REPORT_END_OF_STREAM),
        ("c", mmst_server.LOGGING),
        ("c", mmst_server.CLOSE_FILE),
    ]
    for side in "cs":  # each side counts its records
        seqs = [struct.unpack_from("<H", u, 20)[0] for record, u in mmst_units(conversation, side) if record]
        assert seqs == list(range(len(seqs)))


def test_mmst_transcript_with_a_seek(film):
    conversation, segments = mmst_server.transcript({"film.wmv": film}, seek=(5, 20))
    assert [s.incarnation for s in segments] == [10, 11]
    assert [n for n, _ in segments[0].packets] == [0, 1, 2, 3, 4]
    assert segments[1].packets[0][0] == 20
    for segment in segments:
        assert media_on_the_wire(conversation, segment.incarnation) == segment.packets


def test_mmst_packets_on_their_way_when_the_client_stops(film):
    conversation, _ = mmst_server.transcript({"film.wmv": film}, seek=(5, 20), late=3)
    mids = [data[36:40] if side == "c" else b"" for side, data in conversation]
    stop = mids.index(struct.pack("<I", mmst_server.STOP_PLAYING))
    locations = [struct.unpack_from("<I", data)[0] for _, data in conversation[stop + 1 : stop + 4]]
    assert locations == [2, 3, 4]


def test_servers_cut_out_streams_nobody_selected(film, tmp_path):
    everything = demux(film)
    asf = AsfFile.read(film)
    holes = set()
    for stream in asf.streams:
        _, (mmst,) = mmst_server.transcript({"film.wmv": film}, streams=[stream])
        _, (mmsh,) = mmsh_server.transcript({"film.wmv": film}, streams=[stream])
        assert mmst.packets == mmsh.packets
        holes |= set(range(len(asf.packets))) - {number for number, _ in mmst.packets}
        path = tmp_path / f"{stream}.wmv"
        path.write_bytes(faithful(mmst))
        assert demux(path) == [one for one in everything if one[0] == asf.streams.index(stream)]
    assert holes


def test_mmst_transcript_of_a_playlist(film, song):
    conversation, segments = mmst_server.transcript(
        {"list": [film, song]}, MmstOptions(combine=True, header_fragment=100)
    )
    second = AsfFile.read(song)
    assert [s.incarnation for s in segments] == [10, 0xFF]
    units = [one for one in data_on_the_wire(conversation) if one[1] == 0xFF]
    parts = -(-len(second.header) // 100)
    assert b"".join(one[3] for one in units[:parts]) == segments[1].header == second.header
    assert [one[2] for one in units[:parts]] == [4] * (parts - 1) + [12]
    assert [(one[0], one[3]) for one in units[parts:]] == segments[1].packets
    bodies = [unit[32:] for record, unit in mmst_units(conversation) if record]
    mids = [[mid for mid, _ in mmst_server.messages_of(body)] for body in bodies]
    assert [mmst_server.REPORT_END_OF_STREAM, mmst_server.REPORT_STREAM_CHANGE] in mids


def test_mmst_packet_pair_and_missing_file(film):
    conversation, _ = mmst_server.transcript({"film.wmv": film}, packet_pair=True)
    reports = [
        len(unit)
        for record, unit in mmst_units(conversation)
        if record and unit[36:40] == struct.pack("<I", mmst_server.REPORT_FUNNEL_INFO)
    ]
    assert reports == [512, 512, 1056]
    conversation, segments = mmst_server.transcript({"film.wmv": film}, name="nothing.wmv")
    assert segments == []
    assert struct.pack("<I", 0x80070002) in conversation[-2][1]


# --- MMS over HTTP ---------------------------------------------------------------------------------

MMSH = [MmshOptions(), MmshOptions(padding="keep", octet_stream=True), MmshOptions(chunked="always")]


@pytest.mark.parametrize("options", MMSH, ids=["usual", "padded", "chunked"])
def test_ffmpeg_plays_mmsh(film, options, tmp_path):
    want = demux(film)
    with MmshServer({"film.wmv": film}, options) as server, Recorder(server.port, 80) as recorder:
        assert demux(f"mmsh://127.0.0.1:{recorder.port}/film.wmv", timeout=TIMEOUT) == want
        server.wait()
        recorder.wait()
        recorder.write(tmp_path / "film.pcap")
        (segment,) = server.sent
        assert server.commands == [("c", "describe"), ("c", "play")]
        if options.padding == "keep":
            assert faithful(segment) == packets_only(film)
        _, played = (http_bodies(one) for one in recorder.conversations)
        assert framed_media(played[0]) == segment.packets
        with pytest.raises(av.FFmpegError):
            demux(f"mmsh://127.0.0.1:{recorder.port}/other.wmv", timeout=TIMEOUT)
        assert not server.errors


def http_bodies(conversation):
    """Bodies of the responses in a conversation, without chunks [RFC 9112 6.3]."""
    data, bodies = b"".join(item[1] for item in conversation if item[0] == "s"), []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        body = b""
        if b"chunked" in head:
            while True:
                line, _, data = data.partition(b"\r\n")
                size = int(line, 16)
                body, data = body + data[:size], data[size + 2 :]
                if not size:
                    break
        elif length:
            body, data = data[: int(length[1])], data[int(length[1]) :]
        elif b" 204 " not in head:
            body, data = data, b""
        bodies.append(body)
    return bodies


def framed_packets(body):
    """(id, rest) of the framed packets of a body; $P by its own rule."""
    at = pairs = 0
    while at < len(body):
        assert body[at] in (0x24, 0xA4)
        kind, (size,) = chr(body[at + 1]), struct.unpack_from("<H", body, at + 2)
        if kind == "P":
            (reason,) = struct.unpack_from("<I", body, at + 4)
            size = 4 + {0: 504 - reason, 1: 504, 2: 1048 + reason}[pairs]
            pairs += 1
        yield kind, body[at + 4 : at + 4 + size]
        at += 4 + size
    assert at == len(body)


def framed_media(body):
    """(LocationId, payload) of the $D packets of a body."""
    return [(struct.unpack_from("<I", r)[0], r[8:]) for kind, r in framed_packets(body) if kind == "D"]


def test_mmsh_transcript_on_one_connection(film, song):
    conversation, segments = mmsh_server.transcript(
        {"list": [film, song]},
        MmshOptions(chunked="asked", b_bit=4, header_fragment=250),
        packet_pair=True,
        again=20,
        pause=True,
    )
    described, first, pause, second, log = http_bodies(conversation)
    assert [k for k, _ in framed_packets(described)][:4] == ["P", "P", "P", "M"]
    assert pause == log == b""
    assert framed_media(first) == segments[0].packets + segments[1].packets
    assert framed_media(second) == segments[2].packets + segments[3].packets
    assert segments[2].packets[0][0] == 20
    kinds = "".join(kind for kind, _ in framed_packets(first))
    assert re.fullmatch(r"M+H{3,}D+ECM+H+D+E", kinds)
    assert [r for kind, r in framed_packets(first) if kind == "E"] == [b"\1\0\0\0", b"\0\0\0\0"]
    headers = [r for kind, r in framed_packets(first) if kind == "H"]
    assert b"".join(r[8:] for r in headers) == segments[0].header + segments[1].header
    assert first.count(b"\xa4D") >= 4


def test_mmsh_transcripts_on_several_connections(film):
    conversations, segments = mmsh_server.transcripts({"film.wmv": film}, keep_alive=False)
    bodies = [http_bodies(one) for one in conversations]
    assert [len(one) for one in bodies] == [1, 1, 1]
    assert framed_media(bodies[1][0]) == segments[0].packets
    conversation, segments = mmsh_server.transcript({"film.wmv": film}, name="nothing.wmv")
    assert conversation[1][1].startswith(b"HTTP/1.1 404")
    assert segments == []


def test_mmsh_server_hangs_up_on_clients_that_ask_for_it(film):
    ask = b"GET /film.wmv HTTP/1.0\r\nPragma: xPlayStrm=1,stream-switch-count=1\r\n\r\n"
    request, rest = mmsh_server.take_request(ask)
    site = mmsh_server.Site({"film.wmv": film}, MmshOptions(chunked="always"))
    head, *units = site.answer(request)
    assert rest == b""
    assert mmsh_server.closes(head)
    assert b"chunked" not in head  # HTTP/1.0 knows no chunks
    assert framed_media(b"".join(units)) == []  # no stream was selected


# --- captures --------------------------------------------------------------------------------------


def payloads(frames):
    """TCP payload of both sides of (frame, ts) pairs, by source port, in order."""
    out = {}
    for frame, _ in frames:
        total = struct.unpack_from(">H", frame, 16)[0]
        port, offset = struct.unpack_from(">H", frame, 34)[0], (frame[46] >> 4) * 4
        out[port] = out.get(port, b"") + frame[34 + offset : 14 + total]
    return out


def test_frames_carry_the_conversation(tmp_path):
    conversation = [("c", b"question"), ("s", bytes(range(256)) * 20), ("s", b"more"), ("c", b"x")]
    frames = frames_of(conversation)
    assert payloads(frames) == {40001: b"questionx", 1755: bytes(range(256)) * 20 + b"more"}
    assert all(len(frame) <= 1514 for frame, _ in frames)
    times = [ts for _, ts in frames]
    assert times == sorted(times)
    assert coalesce(conversation)[1] == ("s", bytes(range(256)) * 20 + b"more")
    merged = write_conversation(tmp_path / "one.pcap", conversation, merge=True)
    several = write_conversations(tmp_path / "two.pcap", [conversation, conversation])
    assert Path(several).stat().st_size > Path(merged).stat().st_size
