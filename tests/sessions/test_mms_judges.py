"""What independent programs say of MMS sessions: players that played them, a dissector that counts them."""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import os
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import programs
import pytest
from builders import write_pcap
from cases import faithful_files, rows
from peers.asf_file import faithful
from peers.media import make_asf
from peers.mms_client import Script, datagram, frames
from peers.mms_server import MmsOptions, MmsServer
from peers.mmst_server import transcript
from peers.recorder import START, Recorder, frames_of, write_conversation

SECONDS = 60  # the longest any player may take


@pytest.fixture(scope="session")
def small_film(tmp_path_factory):
    """A film whose packets fit a datagram."""
    return make_asf(tmp_path_factory.mktemp("media") / "small.wmv", title="Small", packet_size=1400)


def unprivileged():
    """How to start a program that refuses to be root."""
    return {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}


def run(command, home, **how):
    env = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home)}
    return subprocess.run(command, capture_output=True, timeout=SECONDS, check=False, env=env, **how)


# --- players -----------------------------------------------------------------------------------------


def test_mplayer_dumps_what_comes_back(program, film, analyzed, tmp_path):
    """Padding that was stripped it does not make zero again: the packets come with theirs."""
    mplayer = program("mplayer")
    dump = tmp_path / "dump.asf"
    options = MmsOptions(padding="keep")
    with MmsServer({"film.wmv": film}, options) as server, Recorder(server.port, 1755) as recorder:
        url = f"mmst://127.0.0.1:{recorder.port}/film.wmv"
        run(
            [mplayer, "-really-quiet", "-noconfig", "all", "-dumpstream", "-dumpfile", str(dump), url],
            tmp_path,
        )
        server.wait()
        recorder.wait()
        case = analyzed(recorder.write(tmp_path / "a.pcap"))
    (segment,) = server.sent
    assert faithful_files(case) == [faithful(segment)]
    dumped = dump.read_bytes()
    assert len(dumped) > len(segment.header)
    assert faithful(segment).startswith(dumped), "it leaves out the last of its blocks at most"
    assert rows(case, "sessions")[0]["client_version"].startswith("NSPlayer/")


def libmms():
    """The library that xine and others play MMS with; in CI it must be there."""
    library = ctypes.CDLL(programs.library("libmms.so.0"))
    library.mms_connect.restype = ctypes.c_void_p
    library.mms_connect.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    library.mms_read.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    library.mms_time_seek.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_double]
    library.mms_close.argtypes = [ctypes.c_void_p]
    return library


def read_all(library, stream, limit):
    """What a stream gives, up to a number of bytes."""
    buffer, found = ctypes.create_string_buffer(4096), b""
    while len(found) < limit:
        n = library.mms_read(None, stream, buffer, min(4096, limit - len(found)))
        if n <= 0:
            break
        found += buffer.raw[:n]
    return found


def test_libmms_reads_what_comes_back(film, analyzed, tmp_path):
    library = libmms()
    with MmsServer({"film.wmv": film}) as server, Recorder(server.port, 1755) as recorder:
        url = f"mmst://127.0.0.1:{recorder.port}/film.wmv"
        stream = library.mms_connect(None, None, url.encode(), 10_000_000)
        assert stream
        read = read_all(library, stream, 1 << 24)
        library.mms_close(stream)
        server.wait()
        recorder.wait()
        case = analyzed(recorder.write(tmp_path / "a.pcap"))
    (segment,) = server.sent
    assert read == faithful(segment)
    assert faithful_files(case) == [read]


def test_libmms_seeks(film, analyzed, tmp_path):
    """It asks for the new place without stopping: packets of the old play are still on their way."""
    library = libmms()
    with MmsServer({"film.wmv": film}) as server, Recorder(server.port, 1755) as recorder:
        url = f"mmst://127.0.0.1:{recorder.port}/film.wmv"
        stream = library.mms_connect(None, None, url.encode(), 10_000_000)
        read_all(library, stream, 40_000)
        library.mms_time_seek(None, stream, 0.5)
        read_all(library, stream, 1 << 24)
        library.mms_close(stream)
        server.wait()
        recorder.wait()
        case = analyzed(recorder.write(tmp_path / "a.pcap"))
    first, *rest = server.sent
    body = b"".join(faithful(s)[len(s.header) :] for s in rest)
    assert faithful_files(case) == [faithful(first) + body]
    assert rows(case, "sessions")[0]["packets_missing"] == 0


def test_vlc_plays_over_udp_what_comes_back(program, small_film, analyzed, tmp_path):
    vlc = program("vlc")
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o777)  # it refuses to be root
        dump = Path(home) / "dump.asf"
        with MmsServer({"small.wmv": small_film}) as server, Recorder(server.port, 1755) as recorder:
            url = f"mmsu://127.0.0.1:{recorder.port}/small.wmv"
            options = ["-I", "dummy", "--play-and-exit", "--run-time=30", "--demux=dump"]
            run([vlc, *options, f"--demuxdump-file={dump}", url, "vlc://quit"], home, **unprivileged())
            server.wait()
            recorder.wait()
            captured = write_pcap(tmp_path / "a.pcap", with_datagrams(recorder, server))
        dumped = dump.read_bytes()
    case = analyzed(captured)
    (segment,) = server.sent
    assert faithful_files(case) == [faithful(segment)]
    # the end, over TCP, may overtake the last datagrams
    assert len(dumped) > len(faithful(segment)) - 4 * segment.packet_size
    assert faithful(segment).startswith(dumped)
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["packets_missing"]) == ("mmsu", 0)


def with_datagrams(recorder, server):
    """Frames of what the recorder relayed over TCP, and of what the server sent beside it over UDP."""
    begun = recorder._begun
    found = []
    for i, conversation in enumerate(recorder.conversations):
        timed = [(side, data, START + ts) for side, data, ts in conversation]
        found += frames_of(
            timed, client=("192.0.2.20", 40001 + i), start_ns=START + conversation[0][2] - 90_000
        )
    for n, (port, unit, at) in enumerate(server.datagrams):
        parts = datagram("192.0.2.10", "192.0.2.20", 1755, port, unit, ip_id=n % 65000 + 1)
        found += [(frame, START + at - begun) for frame in parts]
    return sorted(found, key=lambda item: item[1])


# --- the dissector -----------------------------------------------------------------------------------

FIELDS = ("to-client-id", "to-server-id")


def dissected(tshark, path, *fields, only):
    """Values of fields in the packets that a filter keeps, several of one packet one by one."""
    command = [tshark, "-r", str(path), "-Y", only, "-T", "fields", "-E", "occurrence=a"]
    for field in fields:
        command += ["-e", field]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [
        value for line in out.splitlines() for cell in line.split("\t") for value in cell.split(",") if value
    ]


def commands(case):
    """MIDs of all messages, without the word that names the direction."""
    told = [json.loads(e["details"]) for e in rows(case, "events")]
    return Counter(d["mid"] & 0xFFFF for d in told if "mid" in d)


@pytest.mark.parametrize("port", [None, 5005], ids=["mmst", "mmsu"])
def test_tshark_counts_the_same_messages(program, film, analyzed, tmp_path, port):
    tshark = program("tshark")
    script = Script({"film.wmv": film}, MmsOptions(ping_at=5), port=port)
    script.begin("film.wmv")
    script.at()
    script.play(8)
    script.stop()
    script.at(packet=2)
    script.play()
    script.end()
    path = write_pcap(tmp_path / "a.pcap", frames(script))
    case = analyzed(path)
    names = [f"msmms.command.{field}" for field in FIELDS]
    assert commands(case) == Counter(
        int(v, 16) for v in dissected(tshark, path, *names, only="msmms.command")
    )
    if port is not None:
        session = rows(case, "sessions")[0]
        counted = dissected(tshark, path, "frame.number", only="msmms.data && udp")
        assert len(counted) == session["packets_received"] + 1, "and the header"


def test_tshark_knows_the_requests_to_send_again(program, film, analyzed, tmp_path):
    tshark = program("tshark")
    script = Script({"film.wmv": film}, port=5005)
    script.begin("film.wmv")
    script.at()
    script.play(30)
    script.resend(3, 4, 5)
    script.resend(7)
    script.play()
    path = write_pcap(tmp_path / "a.pcap", frames(script))
    case = analyzed(path)
    asked = "msmms.data.packet-to-resend"
    told = rows(case, "events", event="RequestPacketListResend")
    assert [e["frame"] for e in told] == [int(n) for n in dissected(tshark, path, "frame.number", only=asked)]
    numbers = [n for e in told for n in json.loads(e["details"])["dwBeginPacketList"]]
    assert numbers == [int(n) for n in dissected(tshark, path, asked, only=asked)] == [3, 4, 5, 7]


def test_tshark_counts_the_same_messages_of_a_playlist(program, film, song, analyzed, tmp_path):
    tshark = program("tshark")
    conversation, _ = transcript({"list": [film, song]})
    path = write_conversation(tmp_path / "a.pcap", conversation)
    names = [f"msmms.command.{field}" for field in FIELDS]
    assert commands(analyzed(path)) == Counter(
        int(v, 16) for v in dissected(tshark, path, *names, only="msmms.command")
    )
