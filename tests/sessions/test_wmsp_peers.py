"""MS-WMSP between real programs: what went over the wire comes back, and is what the client wrote down."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import os
import re
import shutil
import socket
import subprocess
import sys
import time

import pytest
from peers.asf_file import faithful
from peers.mmsh_server import MmshOptions, MmshServer
from peers.recorder import Recorder
from peers.tcp_server import TcpServer
from peers.wmsp_reader import bodies, media
from test_mms import events, faithful_files, rows

LIMIT = 40  # seconds that a program may take


def tool(name):
    """A program; in CI it must be there, elsewhere who has none skips."""
    return shutil.which(name) or missing(name)


def missing(name):
    """Skip for the lack of a program, but not in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{name} is not installed, and CI may not skip")
    return pytest.skip(f"{name} is not installed")


def unprivileged(folder):
    """Options by which a program runs in a folder of its own, and not as root, which VLC refuses."""
    folder.mkdir(exist_ok=True)
    options = {"cwd": folder, "env": {**os.environ, "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}}
    if os.getuid() == 0:
        os.chown(folder, 65534, 65534)
        for parent in folder.parents[:3]:
            parent.chmod(parent.stat().st_mode | 0o011)
        options |= {"user": 65534, "group": 65534, "extra_groups": []}
    return options


def run(command, **options):
    """Run a program to its end, or to the end of its time."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, timeout=LIMIT, check=False, **quiet, **options)


def ffmpeg(url, folder):
    run([tool("ffmpeg"), "-v", "error", "-i", url, "-c", "copy", "-f", "null", "-"])


def mplayer(url, folder):
    dump = folder / "dump.asf"
    run([tool("mplayer"), "-noconfig", "all", "-nolirc", "-dumpstream", "-dumpfile", str(dump), url])
    return dump.read_bytes()


def vlc(url, folder):
    command = [tool("cvlc"), "--intf", "dummy", "--no-plugins-cache", "--vout", "dummy", "--aout", "dummy"]
    run([*command, "--play-and-exit", url], **unprivileged(folder / "vlc"))


READ_WITH_LIBMMS = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.mmsh_connect.restype = ctypes.c_void_p
library.mmsh_connect.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
library.mmsh_read.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
stream = library.mmsh_connect(None, None, sys.argv[2].encode(), 10_000_000)
buffer = ctypes.create_string_buffer(65536)
with open(sys.argv[3], "wb") as out:
    while stream and (n := library.mmsh_read(None, stream, buffer, len(buffer))) > 0:
        out.write(buffer.raw[:n])
"""


def libmms(url, folder):
    """The library behind xine and GStreamer's mmssrc, in a process of its own."""
    name = ctypes.util.find_library("mms")
    if name is None:
        missing("libmms")
    dump = folder / "dump.asf"
    run([sys.executable, "-c", READ_WITH_LIBMMS, name, url, str(dump)])
    return dump.read_bytes()


@pytest.mark.parametrize("client", [ffmpeg, mplayer, vlc, libmms], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "options", [MmshOptions(), MmshOptions(octet_stream=True)], ids=["usual", "old types"]
)
def test_a_client_plays_from_the_server_of_the_specification(film, analyzed, tmp_path, client, options):
    with MmshServer({"film.wmv": film}, options) as server, Recorder(server.port, 80) as recorder:
        dumped = client(f"mmsh://127.0.0.1:{recorder.port}/film.wmv", tmp_path)
        server.wait()
        recorder.wait()
        case = analyzed(recorder.write(tmp_path / "a.pcap"))
    sent = [s for s in server.sent if s.packets]
    assert sent
    found = faithful_files(case)
    assert found == [faithful(s) for s in sent]
    assert not dumped or (len(dumped) > 100_000 and found[-1].startswith(dumped))
    assert {s["transport"] for s in rows(case, "sessions")} == {"mmsh"}
    assert len(rows(case, "sessions")) == len(sent)  # describe and play are one
    assert "Play" in [
        d for e in rows(case, "events", event="HttpRequest") for d in re.findall(r"\bPlay\b", e["details"])
    ]
    assert not {"Malformed", "Gap", "MediaWithoutHeader"} & set(events(case))


ATTEMPTS = 4


@contextlib.contextmanager
def vlc_server(film, folder):
    """VLC serving a file in a loop; gives its port."""
    program = tool("cvlc")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = unprivileged(folder / "vlcd")
    shutil.copy(film, folder / "vlcd" / "film.wmv")
    (folder / "vlcd" / "film.wmv").chmod(0o644)
    output = f"#std{{access=mmsh,mux=asfh,dst=127.0.0.1:{port}/lab.wmv}}"
    command = [program, "--intf", "dummy", "--no-plugins-cache", "--loop", "film.wmv", "--sout", output]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*command, "--sout-keep"], **quiet, **options)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None:
                pytest.skip("VLC does not start here")
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


@pytest.mark.parametrize("client", [mplayer, libmms], ids=lambda f: f.__name__)
def test_vlc_serves(film, analyzed, tmp_path, monkeypatch, client):
    """A live stream, joined where it is, without $E; the client is cut off, the wire is the truth."""
    monkeypatch.setattr(sys.modules[__name__], "LIMIT", 5)
    with vlc_server(film, tmp_path) as port:
        for _ in range(ATTEMPTS):  # on a busy machine the stream may not have begun
            time.sleep(1)
            with Recorder(port, 8080) as recorder:
                dumped = client(f"mmsh://127.0.0.1:{recorder.port}/lab.wmv", tmp_path)
                recorder.wait()
                path = recorder.write(tmp_path / "a.pcap")
            if len(dumped) > 10_000:
                break
        case = analyzed(path)
    told = [b"".join(d for side, d, _ in talk if side == "s") for talk in recorder.conversations]
    sent = [one for data in told for body in bodies(data, b"HTTP/") for one in media(body)]
    assert sent
    assert faithful_files(case) == sent
    assert len(dumped) > 10_000
    assert sent[0].startswith(dumped[: len(sent[0]) - 1])  # a new turn of the loop is a medium of its own
    assert rows(case, "sessions")[-1]["transport"] == "mmsh"
    assert rows(case, "sessions")[-1]["server_version"].startswith("Cougar")


def test_ffmpeg_pushes(film, analyzed, tmp_path):
    """Its muxer for streamed ASF frames with Data headers, in chunks."""

    def sink(connection):
        received = b""
        while not received.endswith(b"0\r\n\r\n") and (data := connection.recv(65536)):
            received += data
        connection.sendall(b"HTTP/1.1 200 OK\r\nServer: Cougar/9.5\r\nContent-Length: 0\r\n\r\n")

    server = TcpServer(sink)
    with contextlib.closing(server), Recorder(server.port, 8080) as recorder:
        command = [tool("ffmpeg"), "-v", "error", "-i", film, "-c", "copy", "-f", "asf_stream"]
        kind = ["-content_type", "application/x-wms-pushstart", "-user_agent", "WMEncoder/11.0.5721.5145"]
        run([*command, *kind, f"http://127.0.0.1:{recorder.port}/pubPoint"])
        recorder.wait()
        case = analyzed(recorder.write(tmp_path / "a.pcap"))
    said = [b"".join(d for side, d, _ in talk if side == "c") for talk in recorder.conversations]
    (sent,) = [one for data in said for body in bodies(data, b"POST ") for one in media(body)]
    assert faithful_files(case) == [sent]
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["outcome"]) == ("push", "completed")
    assert not {"Malformed", "Gap"} & set(events(case))
