"""NTLM exchanges as specifications print them, and anything else [MS-NLMP, MS-WMHTTP]."""

from __future__ import annotations

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsforensics.protocols.ntlm import (
    BadToken,
    NtlmAuthenticate,
    NtlmChallenge,
    NtlmNegotiate,
    hash_line,
    mechanism,
    parse_ntlm,
)

# MS-WMHTTP 4.8, lines joined
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


def authenticate(*, lm, nt, domain, user, workstation, flags=0x00000001):
    """AUTHENTICATE_MESSAGE [MS-NLMP 2.2.1.3] with a payload in the order of its fields."""
    parts = [lm, nt, *(text.encode("utf-16-le") for text in (domain, user, workstation)), b""]
    head, at = b"NTLMSSP\0" + struct.pack("<I", 3), 64
    for part in parts:
        head += struct.pack("<HHI", len(part), len(part), at)
        at += len(part)
    return head + struct.pack("<I", flags) + b"".join(parts)


def test_the_exchange_of_the_specification_gives_its_published_hash_line():
    one, two, three = (parse_ntlm(base64.b64decode(t)) for t in (TYPE_1, TYPE_2, TYPE_3))
    assert isinstance(one, NtlmNegotiate)
    assert isinstance(two, NtlmChallenge)
    assert isinstance(three, NtlmAuthenticate)
    assert (two.flags, two.target) == (0xA28A8205, "WMS2205")
    assert two.info["MsvAvTimestamp"].startswith("2007-02-23T17:45:16.296")
    assert two.info["Version"] == "6.0.5732"  # and the Server header says Cougar/9.5.5732
    assert (three.user, three.domain, three.workstation) == ("Administrator", "CRMUR-X1", "CRMUR-X1")
    assert three.version == "v1 with extended session security"
    assert hash_line(two.challenge, three) == (5500, PUBLISHED)


# MS-NLMP 4.2: User, Domain, COMPUTER, Password; server challenge 0123456789abcdef, client challenge aa × 8
CHALLENGE = bytes.fromhex("0123456789abcdef")
V1 = bytes.fromhex("67c43011f30298a2ad35ece64f16331c44bdbed927841f94")  # 4.2.2.2.1
V1_LM = bytes.fromhex("98def7b87f88aa5dafe2df779688a172def11c7d5ccdef13")  # 4.2.2.2.2
V1_ESS = bytes.fromhex("7537f803ae367128ca458204bde7caf81e97ed2683267232")  # 4.2.3.2.2
PROOF = bytes.fromhex("68cd0ab851e51c96aabc927bebef6a1c")  # 4.2.4.2.2


@pytest.mark.parametrize(
    ("lm", "nt", "flags", "version", "mode"),
    [
        (V1_LM, V1, 0x1, "v1", 5500),
        (b"\xaa" * 8 + bytes(16), V1_ESS, 0x80001, "v1 with extended session security", 5500),
        (bytes(24), PROOF + b"\1\1" + bytes(30), 0x80001, "v2", 5600),
    ],
)
def test_responses_of_the_specification(lm, nt, flags, version, mode):
    token = authenticate(lm=lm, nt=nt, domain="Domain", user="User", workstation="COMPUTER", flags=flags)
    message = parse_ntlm(token)
    assert message.version == version
    found, line = hash_line(CHALLENGE, message)
    assert found == mode
    if mode == 5600:
        assert line == f"User::Domain:0123456789abcdef:{PROOF.hex()}:{nt[16:].hex()}"
    else:
        assert line == f"User::Domain:{lm.hex()}:{nt.hex()}:0123456789abcdef"


def test_an_anonymous_answer_has_no_hash_line():
    message = parse_ntlm(authenticate(lm=b"\0", nt=b"", domain="", user="", workstation="X"))
    assert message.version == "anonymous"
    assert hash_line(CHALLENGE, message) is None


@pytest.mark.parametrize("user", ["a:b", "a\nb::c"])
def test_names_that_would_break_a_line_have_none(user):
    message = parse_ntlm(authenticate(lm=V1_LM, nt=V1, domain="", user=user, workstation=""))
    assert (message.user, hash_line(CHALLENGE, message)) == (user, None)


def test_a_message_is_found_in_what_is_wrapped_around_it():
    raw = base64.b64decode(TYPE_2)
    ntlm_auth = struct.pack("<IIIIII", 0, 1, 0, len(raw), 2, 0) + raw  # MS-MMSP 2.2.4.14.1
    assert parse_ntlm(ntlm_auth) == parse_ntlm(raw)
    oid = bytes.fromhex("060a2b06010401823702020a")
    spnego = b"\xa1\x81\xc0\x30\x81\xbd\xa0\x03\x0a\x01\x01\xa1\x0c" + oid + b"\xa2\x81\xa1\x04\x81\x9e" + raw
    assert parse_ntlm(spnego) == parse_ntlm(raw)
    assert mechanism(spnego) == "ntlm"


def test_kerberos_is_told_from_ntlm():
    token = b"\x60\x82\x01\x00\x06\x06\x2b\x06\x01\x05\x05\x02\xa0" + bytes.fromhex("06092a864886f712010202")
    assert parse_ntlm(token) is None
    assert mechanism(token) == "kerberos"
    assert mechanism(b"anything") is None


def test_a_field_that_points_outside_is_told_where():
    raw = bytearray(base64.b64decode(TYPE_3))
    raw[20:22] = b"\xff\xff"
    found = parse_ntlm(b"xx" + bytes(raw))
    assert isinstance(found, BadToken)
    assert (found.offset, found.expected) == (22, "NtChallengeResponse inside the message")
    assert isinstance(parse_ntlm(b"NTLMSSP\0\x07\0\0\0"), BadToken)
    assert isinstance(parse_ntlm(b"NTLMSSP\0"), BadToken)


whole = st.sampled_from([base64.b64decode(t) for t in (TYPE_1, TYPE_2, TYPE_3)])


@given(st.one_of(st.binary(max_size=200).map(lambda b: b"NTLMSSP\0" + b), st.binary(max_size=64)))
def test_any_bytes_give_a_message_or_say_why_not(data):
    found = parse_ntlm(data)
    mechanism(data)
    if isinstance(found, NtlmAuthenticate):
        hash_line(CHALLENGE, found)


@given(whole, st.integers(0, 190), st.binary(min_size=1, max_size=8), st.integers(0, 190))
def test_hurt_messages_do_not_raise(raw, at, patch, end):
    hurt = bytearray(raw)
    hurt[at : at + len(patch)] = patch
    found = parse_ntlm(bytes(hurt[:end] if end else hurt))
    if isinstance(found, NtlmAuthenticate):
        hash_line(CHALLENGE, found)
