"""Passwords out of sight: what is masked in everything that is told, unless the analysis shows secrets.

Rules of this file:

* a password in clear (Basic, a URL's user information, tokens of schemes that are not known to prove without
  revealing) is replaced by `MASK`, whatever its length; user names stay;
* what only proves knowledge of a password (NTLM, Negotiate, Digest) stays;
* it is the recorder that masks, in one place, whichever transport told it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from mmsforensics.protocols.authentication import USER_INFO

MASK: Final = "********"

PROVING: Final = ("ntlm", "negotiate", "digest")
"""Schemes whose tokens do not hold the password."""

_NTLMSSP = b"NTLMSSP\0".hex()
_TOKENS = ("tokenData", "pToken")
_ANSWERS = ("OpenFile", "SecurityResponse")
HOST_USER_INFO: Final = re.compile(r"(host:\s*)([^\s/:@;]{1,256}):([^\s/;]{1,1000})@", re.IGNORECASE)
"""User and password before the host that a player names in Connect [MS-MMSP 2.2.4.17]."""

_HEADER = re.compile(
    r"(authorization:[ \t]*)(?!ntlm\b|negotiate\b|digest\b)([^\s,]{1,64}[ \t]+)?([^\r\n]+)", re.IGNORECASE
)


def masked_text(text: str) -> str:
    """A text without the passwords of URLs and of header lines in it."""
    if "@" in text:
        text = USER_INFO.sub(rf"\1\2:{MASK}@", text)
        text = HOST_USER_INFO.sub(rf"\1\2:{MASK}@", text)
    if "uthorization:" in text or "AUTHORIZATION:" in text:
        text = _HEADER.sub(lambda m: f"{m[1]}{m[2] or ''}{MASK}", text)
    return text


def masked_details(event: str, details: Mapping[str, object]) -> dict[str, object]:
    """The fields of an event without passwords."""
    masked = {k: _masked(k, v) for k, v in details.items()}
    if event in _ANSWERS:
        for name in _TOKENS:
            token = masked.get(name)
            if isinstance(token, str) and token and _NTLMSSP not in token:
                masked[name] = MASK
    return masked


def _masked(name: str, value: object) -> object:
    if value is None or isinstance(value, int):  # most are
        return value
    if isinstance(value, str):
        return _credentials(value) if name.lower().endswith("authorization") else masked_text(value)
    if isinstance(value, Mapping):
        return {k: _masked(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        if len(value) == 2 and all(isinstance(v, str) for v in value):  # a header
            return [value[0], _masked(value[0], value[1])]
        return [_masked(name, v) for v in value]
    return value


def _credentials(value: str) -> str:
    """The value of an Authorization header."""
    scheme, blank, _ = value.strip().partition(" ")
    if scheme.lower() in PROVING:
        return value
    return f"{scheme} {MASK}" if blank else MASK
