"""NTLMSSP messages as they travel in authentication tokens, bare or wrapped in SPNEGO [MS-NLMP 2.2.1].

Rules of this file:

* a message is found by its signature anywhere in a token: NTLM_AUTH of MS-MMSP and SPNEGO lay bytes around
  it;
* it has to lie in the token with everything it points to; what does not is a `BadToken`;
* text is UTF-16LE if the flags say so, else bytes of an unknown code page, read as Windows-1252.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

SIGNATURE: Final = b"NTLMSSP\0"

NEGOTIATE_UNICODE: Final = 0x00000001
NEGOTIATE_EXTENDED_SESSIONSECURITY: Final = 0x00080000
NEGOTIATE_VERSION: Final = 0x02000000

TOKEN_LIMIT: Final = 1 << 16
"""Bytes of a token looked at: lengths in it are of 16 bits."""

V1_RESPONSE: Final = 24
"""Bytes of an NTLM v1 response; a longer one is of v2 [MS-NLMP 2.2.2.6, 2.2.2.8]."""

PROOF: Final = 16
"""Bytes of NTProofStr, before the blob [MS-NLMP 2.2.2.8]."""

AV_NAMES: Final = {
    1: "MsvAvNbComputerName",
    2: "MsvAvNbDomainName",
    3: "MsvAvDnsComputerName",
    4: "MsvAvDnsDomainName",
    5: "MsvAvDnsTreeName",
    6: "MsvAvFlags",
    7: "MsvAvTimestamp",
    9: "MsvAvTargetName",
}
"""AvId of text and numbers [MS-NLMP 2.2.2.1]."""

HASHCAT_V1, HASHCAT_V2 = 5500, 5600
LONGEST_USER, LONGEST_DOMAIN, LONGEST_BLOB = 60, 45, 512
"""Characters and bytes that hashcat takes."""

OIDS: Final = {
    bytes.fromhex("06092a864886f712010202"): "kerberos",  # 1.2.840.113554.1.2.2
    bytes.fromhex("06092a864882f712010202"): "kerberos",  # 1.2.840.48018.1.2.2, of Microsoft
    bytes.fromhex("060a2b06010401823702020a"): "ntlm",  # 1.3.6.1.4.1.311.2.2.10
    bytes.fromhex("06062b0601050502"): "spnego",  # 1.3.6.1.5.5.2
}
"""Mechanisms by their DER object identifiers [RFC 4178, MS-SPNG 1.9]."""

Version = Literal["v1", "v1 with extended session security", "v2", "anonymous"]


@dataclass(frozen=True, slots=True)
class NtlmNegotiate:
    """NEGOTIATE_MESSAGE: the client begins [MS-NLMP 2.2.1.1]."""

    flags: int
    domain: str
    workstation: str


@dataclass(frozen=True, slots=True)
class NtlmChallenge:
    """CHALLENGE_MESSAGE: the server asks [MS-NLMP 2.2.1.2]."""

    flags: int
    challenge: bytes
    target: str
    info: Mapping[str, str] = field(default_factory=dict)
    """TargetInfo by the names of `AV_NAMES`; the time stamp as ISO text in UTC."""


@dataclass(frozen=True, slots=True)
class NtlmAuthenticate:
    """AUTHENTICATE_MESSAGE: the client answers [MS-NLMP 2.2.1.3]."""

    flags: int
    lm: bytes
    nt: bytes
    domain: str
    user: str
    workstation: str

    @property
    def version(self) -> Version:
        """What the responses are of."""
        if len(self.nt) > V1_RESPONSE:
            return "v2"
        if len(self.nt) < V1_RESPONSE and len(self.lm) < V1_RESPONSE:
            return "anonymous"
        session = self.flags & NEGOTIATE_EXTENDED_SESSIONSECURITY and self.lm[8:] == bytes(16)
        return "v1 with extended session security" if session else "v1"


@dataclass(frozen=True, slots=True)
class BadToken:
    """A token that is not what it says."""

    offset: int
    """In the token."""
    expected: str
    found: str


NtlmMessage = NtlmNegotiate | NtlmChallenge | NtlmAuthenticate


def parse_ntlm(token: bytes) -> NtlmMessage | BadToken | None:
    """Read the NTLMSSP message of a token; None when it has none."""
    token = token[:TOKEN_LIMIT]
    begin = token.find(SIGNATURE)
    if begin < 0:
        return None
    message = token[begin:]
    if len(message) < 12:
        return BadToken(begin, "an NTLMSSP message of 12 bytes or more", f"{len(message)} bytes")
    kind = struct.unpack_from("<I", message, 8)[0]
    try:
        match kind:
            case 1:
                return _negotiate(message)
            case 2:
                return _challenge(message)
            case 3:
                return _authenticate(message)
            case _:
                return BadToken(begin + 8, "NTLMSSP message type 1, 2 or 3", str(kind))
    except _OutsideError as error:
        return BadToken(begin + error.offset, error.expected, error.found)


def mechanism(token: bytes) -> str | None:
    """Mechanism of a token of Negotiate: ``ntlm``, ``kerberos`` or ``spnego``; None when it does not tell."""
    token = token[:TOKEN_LIMIT]
    if SIGNATURE in token:
        return "ntlm"
    found = [(token.find(oid), name) for oid, name in OIDS.items() if oid in token]
    named = [name for _, name in sorted(found) if name != "spnego"]
    return named[0] if named else ("spnego" if found else None)


def hash_line(challenge: bytes, answer: NtlmAuthenticate) -> tuple[int, str] | None:
    """The exchange as hashcat takes it: mode and line; None where it has none.

    Modes 5500 (NetNTLMv1; of extended session security the LM response is the challenge of the client) and
    5600 (NetNTLMv2).
    """
    names = answer.user + answer.domain
    if answer.version == "anonymous" or ":" in names or not names.isprintable():
        return None
    if answer.version == "v2":
        proof, blob = answer.nt[:PROOF], answer.nt[PROOF:]
        parts = (answer.user, "", answer.domain, challenge.hex(), proof.hex(), blob.hex())
        return HASHCAT_V2, ":".join(parts)
    if len(answer.nt) != V1_RESPONSE:  # an LM response alone
        return None
    lm = answer.lm.hex() if len(answer.lm) == V1_RESPONSE else ""
    parts = (answer.user, "", answer.domain, lm, answer.nt.hex(), challenge.hex())
    return HASHCAT_V1, ":".join(parts)


def beyond_hashcat(answer: NtlmAuthenticate) -> bool:
    """Whether a hash line is longer in some part than hashcat takes."""
    return (
        len(answer.user) > LONGEST_USER
        or len(answer.domain) > LONGEST_DOMAIN
        or len(answer.nt) - PROOF > LONGEST_BLOB
    )


class _OutsideError(Exception):
    """A part of a message lies outside of it."""

    def __init__(self, offset: int, expected: str, found: str) -> None:
        super().__init__(expected)
        self.offset = offset
        self.expected = expected
        self.found = found


def _buffer(message: bytes, at: int, name: str) -> bytes:
    """What a field of length, maximal length and offset points to [MS-NLMP 2.2.1.2]."""
    if at + 8 > len(message):
        raise _OutsideError(at, f"{name}Fields", f"the end of the message after {len(message)} bytes")
    length, _, offset = struct.unpack_from("<HHI", message, at)
    if length and offset + length > len(message):
        found = f"{length} bytes at {offset} of a message of {len(message)}"
        raise _OutsideError(at, f"{name} inside the message", found)
    return message[offset : offset + length] if length else b""


def _u32(message: bytes, at: int, name: str) -> int:
    if at + 4 > len(message):
        raise _OutsideError(at, name, f"the end of the message after {len(message)} bytes")
    return int.from_bytes(message[at : at + 4], "little")


def _text(raw: bytes, flags: int) -> str:
    if flags & NEGOTIATE_UNICODE:
        return raw[: len(raw) & ~1].decode("utf-16-le", "backslashreplace")
    return raw.decode("cp1252", "backslashreplace")


def _negotiate(message: bytes) -> NtlmNegotiate:
    flags = _u32(message, 12, "NegotiateFlags")
    domain = workstation = ""
    if len(message) >= 32:  # older clients end before
        domain = _text(_buffer(message, 16, "DomainName"), 0)
        workstation = _text(_buffer(message, 24, "Workstation"), 0)
    return NtlmNegotiate(flags, domain, workstation)


def _challenge(message: bytes) -> NtlmChallenge:
    flags = _u32(message, 20, "NegotiateFlags")
    if len(message) < 32:
        raise _OutsideError(24, "ServerChallenge of 8 bytes", f"{max(len(message) - 24, 0)} bytes")
    target = _text(_buffer(message, 12, "TargetName"), flags)
    info = _target_info(_buffer(message, 40, "TargetInfo")) if len(message) >= 48 else {}
    if flags & NEGOTIATE_VERSION and len(message) >= 56:
        info["Version"] = "{}.{}.{}".format(*struct.unpack_from("<BBH", message, 48))
    return NtlmChallenge(flags, message[24:32], target, info)


def _target_info(raw: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at + 4 <= len(raw):
        kind, length = struct.unpack_from("<HH", raw, at)
        value = raw[at + 4 : at + 4 + length]
        at += 4 + length
        if kind == 0 or len(value) < length:
            break
        name = AV_NAMES.get(kind, f"AvId {kind}")
        if kind == 7 and length == 8:
            found[name] = _filetime(int.from_bytes(value, "little"))
        elif kind == 6 or kind not in AV_NAMES:
            found[name] = value.hex()
        else:
            found[name] = _text(value, NEGOTIATE_UNICODE)
    return found


def _filetime(ticks: int) -> str:
    """A FILETIME, 100 ns since 1601, as ISO text in UTC."""
    try:
        moment = datetime(1601, 1, 1, tzinfo=UTC) + timedelta(seconds=ticks // 10_000_000)
    except OverflowError:
        return f"FILETIME {ticks}"
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ticks % 10_000_000:07d}Z"


def _authenticate(message: bytes) -> NtlmAuthenticate:
    flags = _u32(message, 60, "NegotiateFlags") if len(message) >= 64 else NEGOTIATE_UNICODE
    return NtlmAuthenticate(
        flags=flags,
        lm=_buffer(message, 12, "LmChallengeResponse"),
        nt=_buffer(message, 20, "NtChallengeResponse"),
        domain=_text(_buffer(message, 28, "DomainName"), flags),
        user=_text(_buffer(message, 36, "UserName"), flags),
        workstation=_text(_buffer(message, 44, "Workstation"), flags),
    )
