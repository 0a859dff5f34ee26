"""Push distribution: what the encoder sent comes back, byte for byte."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from builders import read_pcap, write_pcap
from cases import events, faithful_files, rows
from peers.asf_file import faithful
from peers.push_encoder import PushOptions, packet, pushed
from peers.recorder import write_conversations

import mmsforensics

OPTIONS = {
    "usual": PushOptions(),
    "padded": PushOptions(padding="keep"),
    "bodies of 20000 bytes, filled up": PushOptions(length=20_000),
    "each on a connection of its own": PushOptions(length=20_000, one_connection=False),
    "Data headers, chunked, as FFmpeg": PushOptions(data_headers=True),
}


def recorded(tmp_path, conversations, name="a.pcap", mss=1460):
    return write_conversations(
        tmp_path / name, conversations, server=("192.0.2.10", 8080), mss=mss, gap_ns=2_000_000_000
    )


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("mss", [1460, 97])
def test_what_the_encoder_sent_comes_back(film, analyzed, tmp_path, options, mss):
    conversations, segments = pushed(film, options)
    case = analyzed(recorded(tmp_path, conversations, mss=mss))
    assert faithful_files(case) == [faithful(s) for s in segments]
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["outcome"]) == ("push", "completed")
    assert session["url"] == "http://MediaServer:8080/pubPoint"
    assert session["client_ip"] == "192.0.2.20"
    assert session["client_version"].startswith("WMEncoder/11")
    assert session["packets_received"] == len(segments[0].packets)
    assert session["packets_missing"] == 0
    (medium,) = rows(case, "media", kind="faithful")
    assert (medium["complete"], medium["verdict"]) == (True, "complete")
    texts = [v["text"] for v in rows(case, "verdicts", media_id=medium["media_id"])]
    assert "the encoder said that it had sent everything" in texts
    assert [p["packet_number"] for p in rows(case, "media_packets")] == [n for n, _ in segments[0].packets]
    assert not {"Malformed", "Gap"} & set(events(case))
    assert all(check.ok for check in mmsforensics.verify(case, deep=True))


def test_the_entries_of_a_playlist_are_one_medium_each(film, song, analyzed, tmp_path):
    """$C carries the header of the next one [MS-WMHTTP 2.2.3.2]."""
    conversations, segments = pushed([film, song])
    case = analyzed(recorded(tmp_path, conversations))
    assert faithful_files(case) == [faithful(s) for s in segments]
    ends = [json.loads(e["details"]) for e in rows(case, "events", event="WmspEndOfStream")]
    assert [e["reason"] for e in ends] == [1, 0]
    assert all(m["complete"] for m in rows(case, "media", kind="faithful"))


def test_what_the_encoder_asked_for(film, analyzed, tmp_path):
    conversations, _ = pushed(film, PushOptions(length=20_000))
    case = analyzed(recorded(tmp_path, conversations))
    details = [json.loads(e["details"]) for e in rows(case, "events", event="HttpRequest")]
    kinds = [d["request"] for d in details]
    assert kinds[0] == "PushSetup"
    assert set(kinds[1:]) == {"PushStart"}
    (body,) = rows(case, "events", event="HttpRequestBody")
    body = json.loads(body["details"])
    assert (body["template_url"], body["auto_destroy"]) == ("/pub", 1)
    assert (
        sum(json.loads(e["details"])["repeated"] for e in rows(case, "events", event="WmspFiller"))
        >= len(kinds) - 2
    )


def test_an_encoder_that_just_leaves(film, analyzed, tmp_path):
    conversations, segments = pushed(film, PushOptions(end=None))
    case = analyzed(recorded(tmp_path, conversations))
    assert faithful_files(case) == [faithful(s) for s in segments]
    assert rows(case, "sessions")[0]["outcome"] == "stopped by client"
    (medium,) = rows(case, "media", kind="faithful")
    assert (medium["complete"], medium["verdict"]) == (False, "partial")


def test_an_error_is_named(film, analyzed, tmp_path):
    conversations, _ = pushed(film, PushOptions(end=0x80070005))
    case = analyzed(recorded(tmp_path, conversations))
    assert rows(case, "sessions")[0]["outcome"] == "failed: access denied"


@pytest.mark.parametrize("seed", range(4))
def test_a_hole_costs_what_it_touches(film, analyzed, tmp_path, seed):
    conversations, (segment,) = pushed(film)
    frames = read_pcap(Path(recorded(tmp_path, conversations)))
    full = [i for i, (frame, _) in enumerate(frames) if len(frame) > 1400][3:]
    lost = set(random.Random(seed).sample(full, 2))
    case = analyzed(write_pcap(tmp_path / "b.pcap", [f for i, f in enumerate(frames) if i not in lost]))
    (medium,) = rows(case, "media", kind="faithful")
    got = (case.path / medium["path"]).read_bytes()[len(segment.header) :]
    size = segment.packet_size
    sent = [payload.ljust(size, b"\0") for _, payload in segment.packets]
    found = [got[i : i + size] for i in range(0, len(got), size)]
    places = [sent.index(one) for one in found]
    assert places == sorted(places)
    assert len(sent) - 6 <= len(found) < len(sent)
    assert medium["packets_missing"] == len(sent) - len(found)
    numbers = [p["packet_number"] for p in rows(case, "media_packets")]
    assert numbers == sorted(set(numbers))
    assert all(r["inferred"] for r in rows(case, "loss"))
    assert all(check.ok for check in mmsforensics.verify(case, deep=True))


def test_a_server_that_wants_to_know_who_pushes(film, analyzed, tmp_path):
    """The exchange of MS-WMHTTP 4.8, shortened: the setup is refused twice before it is granted."""
    options = PushOptions()
    conversations, segments = pushed(film, options)
    (conversation,) = conversations
    setup = conversation[:2]
    refusal = (
        b"HTTP/1.1 401 Unauthorized\r\nServer: Cougar/9.5.5732.6324\r\nWWW-Authenticate: Negotiate\r\n"
        b"Set-Cookie: push-id=4124758405\r\nContent-Length: 0\r\n\r\n"
    )
    token = setup[0][1].replace(b"\r\n\r\n", b"\r\nAuthorization: Negotiate TlRMTVNTUAABAAAAB4IIog==\r\n\r\n")
    talk = [*setup, ("s", refusal), ("c", token), setup[1], ("s", refusal), *conversation]
    case = analyzed(recorded(tmp_path, [talk]))
    (session,) = rows(case, "sessions")
    assert session["outcome"] == "completed"
    assert faithful_files(case) == [faithful(s) for s in segments]
    challenges = [json.loads(e["details"]) for e in rows(case, "events", event="HttpChallenge")]
    assert [c["schemes"] for c in challenges] == [["Negotiate"], ["Negotiate"]]
    (answer,) = rows(case, "events", event="HttpCredentials")
    assert json.loads(answer["details"])["scheme"] == "Negotiate"


def test_two_encoders_are_two_sessions(film, song, analyzed, tmp_path):
    first, one = pushed(film, PushOptions(push_id="1"))
    second, two = pushed(song, PushOptions(push_id="2"), path="/other")
    case = analyzed(recorded(tmp_path, first + second))
    assert faithful_files(case) == [faithful(s) for s in one + two]
    assert [s["url"].rsplit("/")[-1] for s in rows(case, "sessions")] == ["pubPoint", "other"]


def test_what_is_no_push_is_none(analyzed, tmp_path):
    """A body of the right type with something else in it gives no medium."""
    head = b"POST /x HTTP/1.1\r\nContent-Type: application/x-wms-pushstart\r\nContent-Length: 4000\r\n\r\n"
    noise = random.Random(1).randbytes(3990) + packet("E", b"")[:4]
    case = analyzed(recorded(tmp_path, [[("c", head + noise)]]))
    assert rows(case, "media") == []
    assert "Malformed" in events(case)


@pytest.mark.parametrize("share", [0.3, 0.6])
@pytest.mark.parametrize("options", [PushOptions(), PushOptions(padding="keep"), PushOptions(length=60_000)])
def test_a_push_whose_beginning_was_not_captured(film, tmp_path, options, share):
    """Known by its structure alone, with the encoder as the client; a request behind belongs to it."""
    conversations, (segment,) = pushed(film, options)
    path = recorded(tmp_path, conversations)
    packets = rows(mmsforensics.analyze([path], out=tmp_path / "whole"), "media_packets")
    first = packets[int(len(packets) * share)]["first_frame"] + 1
    frames = read_pcap(Path(path))[first - 1 :]
    case = mmsforensics.analyze([write_pcap(tmp_path / "b.pcap", frames)], out=tmp_path / "part")
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["client_ip"]) == ("push", "192.0.2.20")
    inside = [p["packet_number"] for p in packets if p["first_frame"] >= first]
    (medium,) = rows(case, "media")
    sent = dict(segment.packets)
    assert (case.path / medium["path"]).read_bytes() == b"".join(sent[n] for n in inside)
    assert medium["kind"] == "packets"


def test_a_push_without_its_content_type(film, analyzed, tmp_path):
    """What the bodies hold, their bytes say; several of them are one session."""
    conversations, (segment,) = pushed(film, PushOptions(length=60_000))
    plain = [
        (side, data.replace(b"application/x-wms-pushstart", b"video/x-ms-asf"))
        for side, data in conversations[0]
    ]
    first = next(i for i, (_, data) in enumerate(plain) if data.startswith(b"$F"))
    case = analyzed(recorded(tmp_path, [plain[:first]]))
    (session,) = rows(case, "sessions", transport="push")
    assert session["packets_received"] > 10
    (got,) = faithful_files(case)
    assert faithful(segment).startswith(got)
