"""Files of Windows Media that a client sends to an HTTP server."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from pathlib import Path

import pytest
from builders import write_pcap
from cases import events, faithful_files, rows
from hypothesis import given
from hypothesis import strategies as st
from peers.recorder import Recorder, frames_of
from peers.tcp_server import TcpServer
from runs import run

import mmsforensics
from mmsforensics.protocols.messages import At, Body, BodyEnd, Request
from mmsforensics.sessions.uploads import Upload

CLIENT, WEB = ("192.0.2.20", 40001), ("192.0.2.80", 80)
MARK = "----WebKitFormBoundaryE19zNvXGzXaLvS5C"


@pytest.fixture(scope="module")
def body(film):
    return Path(film).read_bytes()


def head(method, length, *more):
    lines = [f"{method} /upload/film.wmv HTTP/1.1", "Host: www.example.com", "User-Agent: curl/7.88.1", *more]
    lines += [f"Content-Length: {length}"] if length is not None else ["Transfer-Encoding: chunked"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def form(*parts, mark=MARK):
    """A body of the type multipart/form-data [RFC 7578]; parts are (head line, bytes)."""
    sent = b"".join(
        f"--{mark}\r\nContent-Disposition: form-data; {line}\r\n\r\n".encode() + data + b"\r\n"
        for line, data in parts
    )
    return sent + f"--{mark}--\r\n".encode()


def posted(data, mark=MARK):
    return head("POST", len(data), f"Content-Type: multipart/form-data; boundary={mark}") + data


@pytest.fixture
def uploaded(tmp_path):
    def analyze(*requests, answer=b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", lost=None):
        items = [item for sent in requests for item in (("c", sent), ("s", answer))]
        frames = frames_of(items, client=CLIENT, server=WEB)
        if lost is not None:
            big = [i for i, (frame, _) in enumerate(frames) if len(frame) > 1400]
            del frames[big[int(len(big) * lost)]]
        case = mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", frames)], out=tmp_path / "case")
        assert [c.message for c in mmsforensics.verify(case, deep=True) if not c.ok] == []
        return case

    return analyze


def the_file(case, body):
    assert faithful_files(case) == [body]
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["outcome"]) == ("carved", "completed")
    assert (session["server_ip"], session["client_ip"]) == (CLIENT[0], WEB[0]), "the server is who sent it"
    assert session["url"] == "http://www.example.com/upload/film.wmv"
    (medium,) = rows(case, "media", kind="faithful")
    assert (medium["verdict"], medium["complete"]) == ("complete", True)
    assert {"HttpRequest", "UploadedFile", "HttpResponse"} <= set(events(case))
    assert rows(case, "viewings") == []
    (flow,) = rows(case, "flows")
    assert (flow["session_ids"], flow["client_ip"]) == ([session["session_id"]], CLIENT[0])


def test_put(body, uploaded):
    the_file(uploaded(head("PUT", len(body)) + body), body)


def test_put_in_chunks(body, uploaded):
    chunks = b"".join(
        b"%x\r\n" % len(body[at : at + 5000]) + body[at : at + 5000] + b"\r\n"
        for at in range(0, len(body), 5000)
    )
    the_file(uploaded(head("PUT", None) + chunks + b"0\r\n\r\n"), body)


def test_a_form_with_other_fields(body, uploaded):
    tail = b"\r\n--" + MARK.encode()[:-1] + b"X"  # nearly the delimiter
    film = body + tail
    data = form(
        ('name="title"', b"A film"),
        ('name="file"; filename="..\\\\film.wmv"\r\nContent-Type: video/x-ms-wmv', film),
        ('name="agree"', b"on"),
    )
    case = uploaded(posted(data))
    the_file(case, film)
    (told,) = rows(case, "events", event="UploadedFile")
    assert json.loads(told["details"])["name"] == "..\\\\film.wmv"


def take(connection):
    """Read one request, asked to go on where it waits for that, and answer it [RFC 9110 10.1.1]."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    asked, _, rest = data.partition(b"\r\n\r\n")
    if b"100-continue" in asked.lower():
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", asked.lower())[1])
    while len(rest) < length and (more := connection.recv(65536)):
        rest += more
    connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize("how", ["put", "form"])
@pytest.mark.parametrize("waits", [False, True], ids=["at once", "100-continue"])
def test_what_curl_sends(film, body, program, tmp_path, how, waits):
    what = ["-T", film] if how == "put" else ["-F", "title=A film", "-F", f"file=@{film}"]
    expects = "Expect: 100-continue" if waits else "Expect:"
    with contextlib.closing(TcpServer(take)) as server, Recorder(server.port, 80) as recorder:
        url = f"http://127.0.0.1:{recorder.port}/upload/film.wmv"
        subprocess.run([program("curl"), "-s", "-H", expects, *what, url], check=True, timeout=30)
        server.wait()
        recorder.wait()
        assert not server.errors
        path = recorder.write(tmp_path / "a.pcap")
    case = mmsforensics.analyze([path], out=tmp_path / "case")
    assert faithful_files(case) == [body]
    (told,) = rows(case, "events", event="UploadedFile")
    assert json.loads(told["details"])["name"] == "film.wmv"
    assert [c for c in mmsforensics.verify(case, deep=True) if not c.ok] == []


def test_several_files_in_a_form_and_on_a_connection(body, uploaded):
    films = [('name="a"; filename="a.wmv"', body), ('name="b"; filename="b.wmv"', body[:-1])]
    case = uploaded(posted(form(*films)), head("PUT", len(body)) + body)
    assert faithful_files(case) == [body, body[:-1], body]
    assert len(rows(case, "sessions", transport="carved")) == 3


def test_a_hole_stays_a_hole(body, uploaded):
    case = uploaded(posted(form(('name="f"; filename="f.wmv"', body))), lost=0.5)
    (session,) = rows(case, "sessions")
    assert session["packets_missing"] > 0
    (medium,) = rows(case, "media", kind="faithful")
    assert not medium["complete"]
    assert len(faithful_files(case)[0]) < len(body)


def test_an_upload_that_broke_off(body, uploaded):
    case = uploaded(head("PUT", len(body)) + body[: len(body) // 2])
    (session,) = rows(case, "sessions")
    (medium,) = rows(case, "media", kind="faithful")
    assert session["outcome"] != "completed"
    assert medium["verdict"] == "partial"
    assert faithful_files(case)[0] == body[: len(faithful_files(case)[0])]


def test_what_is_no_file_leaves_no_trace(body, uploaded):
    case = uploaded(posted(form(('name="f"', body[:16] + bytes(4000)))), head("POST", 40) + body[:40])
    assert rows(case, "sessions") == []


@given(
    st.lists(
        st.sampled_from([b"--x", b"\r\n--x", b"\r\n\r\n", b"--", b"\r", b"a" * 50, b'filename="b"']),
        max_size=30,
    ),
    st.lists(st.integers(1, 40), min_size=1, max_size=9),
    st.integers(0, 3),
)
def test_no_form_makes_it_raise_or_hand_on_what_was_not_sent(parts, sizes, gap):
    """Whatever it is cut into, and with holes."""
    data = b"".join(parts)
    at = At(direction="client", offset=0, frame=1, ts=0)
    asked = Request(
        at=at,
        method="POST",
        target="/",
        version="HTTP/1.1",
        headers=(("Content-Type", "multipart/form-data; boundary=x"),),
        number=0,
    )
    upload = Upload(asked, lambda *_: pytest.fail("no file is here"))
    offset = turn = 0
    while offset < len(data):
        size = sizes[turn % len(sizes)]
        if turn % 4 != gap or gap == 0:
            part = data[offset : offset + size]
            came = run(part, offset)
            upload.body(Body(at=at, number=0, offset=offset, data=came.data, pieces=came.pieces))
        offset, turn = offset + size, turn + 1
    upload.end(BodyEnd(at=at, number=0, length=len(data), complete=True, ended=True))
