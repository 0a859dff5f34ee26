"""What travels beside media is heard whatever the transport: requests of RTSP are told as those of HTTP."""

from __future__ import annotations

import base64
from types import SimpleNamespace

import pytest

from mmsforensics.protocols import Request, Response
from mmsforensics.protocols.messages import At
from mmsforensics.sessions.documents import Document
from mmsforensics.sessions.media_count import MediaCount
from mmsforensics.sessions.witness import Witness
from mmsforensics.streams.flow import Endpoint

CLIENT = Endpoint(bytes([192, 0, 2, 20]), 40001)
SERVER = Endpoint(bytes([192, 0, 2, 10]), 554)
ENDS = SimpleNamespace(client=CLIENT, server=SERVER)
LOG = b"<XML><Summary></Summary><c-os>Windows</c-os><transport>UDP</transport></XML>"


class Rows:
    """A `Recorder` that keeps rows."""

    def __init__(self):
        self.told = []

    def row(self, table, session, frame, values):
        self.told.append((table, session, frame, values))


@pytest.fixture
def story():
    return SimpleNamespace(
        number=3,
        received=0,
        count=MediaCount(),
        first_media_ts=None,
        content_name="",
        client=CLIENT,
        server=SERVER,
    )


def at(direction, frame):
    return At(direction=direction, offset=0, frame=frame, ts=frame * 10**9)


def request(frame, *headers, number=1, direction="client", method="DESCRIBE"):
    target, version = "rtsp://192.0.2.10/film.wmv", "RTSP/1.0"
    return Request(
        at=at(direction, frame), method=method, target=target, version=version, headers=headers, number=number
    )


def response(frame, status, *headers, number=1, direction="server"):
    return Response(
        at=at(direction, frame), version="RTSP/1.0", status=status, reason="", headers=headers, number=number
    )


def heard(story, *messages):
    """Rows of `credentials` after messages on one connection."""
    rows = Rows()
    witness = Witness(rows)
    reader = SimpleNamespace(stories=[story])
    for message in messages:
        witness.hear(7, message, reader, ENDS)
    witness.close(7)
    return [values for table, *_, values in rows.told if table == "credentials"]


def test_rtsp_headers(story):
    token = base64.b64encode(b"bob:secret").decode()
    challenge, answer = heard(
        story,
        response(1, 401, ("WWW-Authenticate", 'Basic realm="Films"'), number=1),
        request(2, ("Authorization", f"Basic {token}"), number=2),
        response(3, 200, number=2),
    )
    assert (challenge["role"], challenge["realm"]) == ("challenge", "Films")
    assert (answer["user"], answer["secret"], answer["realm"]) == ("bob", "secret", "Films")
    assert (answer["answered"], answer["server_port"]) == ("200", 554)


def test_a_client_that_answers_a_request_of_the_server_answers_no_login(story):
    token = base64.b64encode(b"bob:secret").decode()
    (answer,) = heard(
        story,
        request(1, ("Authorization", f"Basic {token}"), number=5),
        request(2, number=5, direction="server", method="ANNOUNCE"),
        response(3, 200, number=5, direction="client"),
        response(4, 401, number=5),
    )
    assert answer["answered"] == "401"


def test_digest_of_rtsp_has_its_method(story):
    header = 'Digest username="a", realm="b", nonce="c", uri="rtsp://h/f", response="' + "0" * 32 + '"'
    (answer,) = heard(story, request(1, ("Authorization", header)))
    assert answer["hash_line"] == f"$sip$***a*b*DESCRIBE**rtsp://h/f**c****MD5*{'0' * 32}"


def test_a_connection_without_a_session_tells_nothing(story):
    rows = Rows()
    witness = Witness(rows)
    witness.hear(7, request(1, ("Authorization", "Basic Ym9iOng=")), SimpleNamespace(stories=[]), ENDS)
    witness.finish()
    assert rows.told == []


@pytest.mark.parametrize("kind", ["Logconnectstats", "Logplaystats"])
def test_logs_in_set_parameter(story, kind):
    rows = Rows()
    witness = Witness(rows)
    asked = request(4, ("Content-Type", f"application/x-wms-{kind};charset=UTF-8"), method="SET_PARAMETER")
    witness.read(
        Document(
            at=at("client", 4),
            client=CLIENT,
            server=SERVER,
            request=asked,
            response=None,
            story=story,
            data=LOG,
            whole=True,
        )
    )
    witness.finish()
    ((table, session, frame, values),) = rows.told
    assert (table, session, frame) == ("client_log", 3, 4)
    assert (values["carrier"], values["kind"]) == (f"x-wms-{kind.lower()}", "connect-time")
    assert (values["c_os"], values["transport"]) == ("Windows", "UDP")
