"""Who authenticates, from the wire to the table `credentials`; and that no password leaks."""

from __future__ import annotations

import base64
import json
import struct

import pyarrow.parquet as pq
import pytest
from builders import write_pcap
from cases import rows
from peers.mmsh_server import transcript as mmsh
from peers.mmst_server import message, record
from peers.mmst_server import text as utf16
from peers.mmst_server import transcript as mmst
from peers.recorder import START, frames_of, write_conversation

import mmsforensics

SECRET = "Secret-Pa55word"
BASIC = base64.b64encode(f"CORP\\alice:{SECRET}".encode()).decode()

# MS-WMHTTP 4.8: the three tokens, lines joined
TYPE_1 = "TlRMTVNTUAABAAAAB4IIogAAAAAAAAAAAAAAAAAAAAAFASgKAAAADw=="
TYPE_2 = (
    "TlRMTVNTUAACAAAADgAOADgAAAAFgoqio8hNyf74ihkAAAAAAAAAAFgAWABGAAAABgBkFgAAAA9XAE0AUwAyADIAMAA1AAIADgBXAE0AU"
    "wAyADIAMAA1AAEADgBXAE0AUwAyADIAMAA1AAQADgBXAE0AUwAyADIAMAA1AAMADgBXAE0AUwAyADIAMAA1AAcACABEkqlgclfHAQAAAAA="
)
TYPE_3 = (
    "TlRMTVNTUAADAAAAGAAYAIIAAAAYABgAmgAAABAAEABIAAAAGgAaAFgAAAAQABAAcgAAAAAAAACyAAAABYKIogUBKAoAAAAPQwBSAE0AVQBS"
    "AC0AWAAxAEEAZABtAGkAbgBpAHMAdAByAGEAdABvAHIAQwBSAE0AVQBSAC0AWAAxAOxCYicp6dvUAAAAAAAAAAAAAAAAAAAAAMBTLr8Doynv"
    "ziDW1WTSjE40MItgYYsXDA=="
)
PUBLISHED = (
    "Administrator::CRMUR-X1:ec42622729e9dbd400000000000000000000000000000000:"
    "c0532ebf03a329efce20d6d564d28c4e34308b60618b170c:a3c84dc9fef88a19"
)


def request(target="/film.wmv", *headers, method="GET", agent="NSPlayer/9.0.0.2980"):
    lines = [f"{method} {target} HTTP/1.1", f"User-Agent: {agent}", "Host: 192.0.2.10", *headers]
    return ("\r\n".join([*lines, "Content-Length: 0"]) + "\r\n\r\n").encode()


def response(status, *headers):
    lines = [f"HTTP/1.1 {status}", "Server: Cougar/9.5.5732.6324", *headers, "Content-Length: 0"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def handshake(scheme="Negotiate", answer="Authorization", challenge="WWW-Authenticate"):
    """The exchange of MS-WMHTTP 4.8, by a player."""
    return [
        ("c", request()),
        ("s", response("401 Unauthorized", f"{challenge}: {scheme}")),
        ("c", request("/film.wmv", f"{answer}: {scheme} {TYPE_1}")),
        ("s", response("401 Unauthorized", f"{challenge}: {scheme} {TYPE_2}")),
        ("c", request("/film.wmv", f"{answer}: {scheme} {TYPE_3}")),
        ("s", response("204 No Content")),
    ]


def of_http(analyzed, tmp_path, conversation):
    return analyzed(write_conversation(tmp_path / "a.pcap", conversation, server=("192.0.2.10", 80)))


def stored(case):
    """All text of all tables, and the names of all files."""
    found = []
    for path in sorted(case.path.rglob("*")):
        found.append(str(path.relative_to(case.path)))
        if path.suffix == ".parquet":
            found += [json.dumps(r, default=str, ensure_ascii=False) for r in pq.read_table(path).to_pylist()]
        elif path.suffix in (".json", ".jsonl"):
            found.append(path.read_text())
    return "\n".join(found)


@pytest.mark.parametrize("scheme", ["Negotiate", "NTLM"])
def test_the_exchange_of_the_specification_gives_its_published_hash_line(analyzed, tmp_path, scheme):
    case = of_http(analyzed, tmp_path, handshake(scheme))
    asked, one, two, three = rows(case, "credentials")
    assert [r["role"] for r in (asked, one, two, three)] == ["challenge", "answer", "challenge", "answer"]
    assert (asked["scheme"], one["scheme"]) == (scheme.lower(), "ntlm")
    assert (two["host"], two["carrier"]) == ("WMS2205", "WWW-Authenticate")
    assert json.loads(two["details"])["MsvAvTimestamp"].startswith("2007-02-23T17:45:16.296")
    assert (three["hashcat_mode"], three["hash_line"]) == (5500, PUBLISHED)
    assert (three["user"], three["domain"], three["host"]) == ("Administrator", "CRMUR-X1", "CRMUR-X1")
    assert (three["scheme"], three["secret"], three["answered"]) == ("ntlm v1", None, "204 No Content")
    assert three["session_id"] == rows(case, "sessions")[0]["session_id"]
    assert three["frame"] > two["frame"] > one["frame"]


def test_a_proxy_is_another_partner_than_the_server(analyzed, tmp_path):
    to_proxy = handshake("NTLM", "Proxy-Authorization", "Proxy-Authenticate")
    mixed = [*to_proxy[:4], ("c", request("/film.wmv", f"Authorization: NTLM {TYPE_3}"))]
    case = of_http(analyzed, tmp_path, mixed)
    last = rows(case, "credentials")[-1]
    assert (last["carrier"], last["hash_line"]) == ("Authorization", None)
    assert last["problem"] == "the challenge was not captured"


def test_challenge_and_answer_belong_to_one_connection(analyzed, tmp_path):
    whole = handshake("NTLM")
    frames = frames_of(whole[:4], server=("192.0.2.10", 80))
    frames += frames_of(
        whole[4:], client=("192.0.2.20", 41000), server=("192.0.2.10", 80), start_ns=START + 10**9
    )
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames))
    assert [r["hash_line"] for r in rows(case, "credentials")] == [None] * 4


def test_an_answer_given_again_on_another_connection_is_a_replay(analyzed, tmp_path):
    frames = []
    for i in range(2):
        frames += frames_of(
            handshake("NTLM"),
            client=("192.0.2.20", 41000 + i),
            server=("192.0.2.10", 80),
            start_ns=START + i * 10**9,
        )
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames))
    told = [(r["hash_line"], r["replayed"]) for r in rows(case, "credentials") if r["hash_line"]]
    assert told == [(PUBLISHED, False), (PUBLISHED, True)]


def test_basic_is_masked_everywhere_unless_secrets_are_shown(tmp_path):
    conversation = [
        ("c", request()),
        ("s", response("401 Unauthorized", 'WWW-Authenticate: Basic realm="Films"')),
        ("c", request("/film.wmv", f"Authorization: Basic {BASIC}")),
        ("s", response("204 No Content")),
        ("c", request("/film.wmv", f"Authorization: Basic {BASIC}")),
        ("s", response("204 No Content")),
    ]
    path = write_conversation(tmp_path / "a.pcap", conversation, server=("192.0.2.10", 80))
    masked = mmsforensics.analyze([path], out=tmp_path / "masked")
    _, answer = rows(masked, "credentials")
    assert (answer["user"], answer["domain"], answer["realm"]) == ("alice", "CORP", "Films")
    assert (answer["secret"], answer["times"]) == ("********", 2)
    assert masked.manifest["parameters"]["show_secrets"] is False
    text = stored(masked)
    assert SECRET not in text
    assert BASIC not in text
    assert "Basic ********" in text  # the header is still told

    shown = mmsforensics.analyze([path], out=tmp_path / "shown", show_secrets=True)
    assert rows(shown, "credentials")[1]["secret"] == SECRET
    assert BASIC in stored(shown)
    assert shown.manifest["parameters"]["show_secrets"] is True


def test_digest(analyzed, tmp_path):
    header = (
        'Authorization: Digest username="bob", realm="WMS", nonce="abc", uri="/film.wmv", '
        'response="0123456789abcdef0123456789abcdef"'
    )
    case = of_http(analyzed, tmp_path, [("c", request("/film.wmv", header, "X-Proxy-Client-Verb: POST"))])
    (row,) = rows(case, "credentials")
    assert (row["user"], row["realm"], row["hashcat_mode"]) == ("bob", "WMS", 11400)
    assert row["hash_line"] == "$sip$***bob*WMS*POST**/film.wmv**abc****MD5*0123456789abcdef0123456789abcdef"


def test_a_whole_connection_is_looked_at_if_it_carries_a_session(analyzed, tmp_path):
    browser = request("/private/", f"Authorization: Basic {BASIC}", agent="Mozilla/5.0")
    exchange = [("c", browser), ("s", response("200 OK"))]
    case = of_http(analyzed, tmp_path, exchange)
    assert rows(case, "credentials") == []
    case = of_http(analyzed, tmp_path, [*exchange, ("c", request()), ("s", response("404 Not Found"))])
    (row,) = rows(case, "credentials")
    assert (row["user"], row["target"], row["answered"]) == ("alice", "/private/", "200 OK")


def test_passwords_in_urls(film, tmp_path):
    url = f"http://bob:{SECRET}@192.0.2.10/film.wmv"
    conversation = [("c", request(url, f"Referer: {url}")), ("s", response("404 Not Found"))]
    path = write_conversation(tmp_path / "a.pcap", conversation, server=("192.0.2.10", 80))
    case = mmsforensics.analyze([path], out=tmp_path / "case")
    told = {(r["carrier"], r["user"], r["secret"]) for r in rows(case, "credentials")}
    assert told == {("URL of a request", "bob", "********"), ("URL in Referer", "bob", "********")}
    assert rows(case, "sessions")[0]["url"] == "mmsh://bob:********@192.0.2.10/film.wmv"
    assert SECRET not in stored(case)


def mms_with(conversation, *units):
    """A conversation of MMS with messages behind the first four records."""
    return [*conversation[:4], *units, *conversation[4:]]


def security(mid, token, cookie=7):
    """SecurityChallenge or SecurityResponse [MS-MMSP 2.2.4.14, 2.2.4.24]."""
    return record([message(mid, struct.pack("<III", 1, cookie, len(token)) + token)], 90)


def test_ntlm_over_mms(film, analyzed, tmp_path):
    conversation, _ = mmst({"film.wmv": film})
    two, three = base64.b64decode(TYPE_2), base64.b64decode(TYPE_3)
    wrapped = struct.pack("<IIIIII", 0, 1, 0, len(two), 2, 0) + two  # NTLM_AUTH
    case = analyzed(
        write_conversation(
            tmp_path / "a.pcap",
            mms_with(
                conversation,
                ("s", security(0x0004001A, b"\0\0")),
                ("c", security(0x0003001A, b"\0\0" + base64.b64decode(TYPE_1))),
                ("s", security(0x0004001A, wrapped)),
                ("c", security(0x0003001A, b"\0\0" + three)),
            ),
        )
    )
    found = rows(case, "credentials")
    assert [r["carrier"] for r in found] == ["SecurityChallenge", "SecurityResponse"] * 2
    assert (found[-1]["hash_line"], found[-1]["hashcat_mode"]) == (PUBLISHED, 5500)
    assert found[-1]["answered"] == "ok"


def test_basic_over_mms_is_masked(film, tmp_path):
    conversation, _ = mmst({"film.wmv": film})
    realm = utf16('realm="Films"')
    units = [("s", security(0x0004001A, realm)), ("c", security(0x0003001A, BASIC.encode() + b"\0"))]
    path = write_conversation(tmp_path / "a.pcap", mms_with(conversation, *units))
    case = mmsforensics.analyze([path], out=tmp_path / "case")
    _, answer = rows(case, "credentials")
    assert (answer["scheme"], answer["user"], answer["realm"]) == ("basic", "alice", "Films")
    text = stored(case)
    assert SECRET not in text
    assert BASIC not in text
    assert BASIC.encode().hex() not in text
    shown = mmsforensics.analyze([path], out=tmp_path / "shown", show_secrets=True)
    assert rows(shown, "credentials")[1]["secret"] == SECRET


def test_a_password_in_the_host_that_a_player_names(film, tmp_path):
    conversation, _ = mmst({"film.wmv": film}, host=f"bob:{SECRET}@media.example.com")
    case = mmsforensics.analyze(
        [write_conversation(tmp_path / "a.pcap", conversation)], out=tmp_path / "case"
    )
    (row,) = rows(case, "credentials")
    assert (row["carrier"], row["user"], row["secret"]) == ("Host of Connect", "bob", "********")
    assert rows(case, "sessions")[0]["url"] == "mms://bob:********@media.example.com/film.wmv"
    assert SECRET not in stored(case)


def test_cached_credentials_in_open_file(film, analyzed, tmp_path):
    name = utf16("film.wmv")
    token = BASIC.encode() + b"\0"
    body = struct.pack("<IIII", 1, 0, len(name), len(token)) + name + token
    conversation, _ = mmst({"film.wmv": film})
    case = analyzed(
        write_conversation(
            tmp_path / "a.pcap", mms_with(conversation, ("c", record([message(0x00030005, body)], 91)))
        )
    )
    (row,) = rows(case, "credentials")
    assert (row["carrier"], row["user"], row["target"]) == ("OpenFile", "alice", "film.wmv")
    assert BASIC.encode().hex() not in stored(case)


def test_ntlm_in_open_file(film, analyzed, tmp_path):
    name, token = utf16("film.wmv"), b"\0\0" + base64.b64decode(TYPE_1)
    body = struct.pack("<IIII", 1, 0, len(name), len(token)) + name + token
    conversation, _ = mmst({"film.wmv": film})
    unit = record([message(0x00030005, body)], 91)
    case = analyzed(write_conversation(tmp_path / "a.pcap", mms_with(conversation, ("c", unit))))
    (row,) = rows(case, "credentials")
    assert (row["carrier"], row["scheme"], row["role"]) == ("OpenFile", "ntlm", "answer")


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("NTLM %%%", "expected a base64 token"),
        ("NTLM TlRMTVNTUAADAAAA", "LmChallengeResponseFields"),
        ("NTLM " + base64.b64encode(b"nothing").decode(), "expected an NTLMSSP message"),
        ("Basic " + base64.b64encode(b"nobody").decode(), "without a colon"),
    ],
)
def test_malformed_tokens_are_rows_with_what_is_wrong(analyzed, tmp_path, header, problem):
    case = of_http(analyzed, tmp_path, [("c", request("/film.wmv", f"Authorization: {header}"))])
    (row,) = rows(case, "credentials")
    assert problem in row["problem"]
    assert row["frame"] == 4


def test_kerberos_is_told_without_a_line(analyzed, tmp_path):
    token = base64.b64encode(b"\x60\x82\x01\x00" + bytes.fromhex("06092a864886f712010202")).decode()
    case = of_http(analyzed, tmp_path, [("c", request("/film.wmv", f"Authorization: Negotiate {token}"))])
    (row,) = rows(case, "credentials")
    assert (row["scheme"], row["hash_line"], row["secret"]) == ("negotiate kerberos", None, None)


def test_a_played_session_with_credentials_stays_whole(film, analyzed, tmp_path):
    conversation, _ = mmsh({"film.wmv": film})
    case = of_http(analyzed, tmp_path, [*handshake("NTLM")[:4], *conversation])
    assert any(r["complete"] for r in rows(case, "media"))
    assert all(check.ok for check in mmsforensics.verify(case, deep=True))
