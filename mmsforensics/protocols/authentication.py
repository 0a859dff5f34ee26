"""Authentication headers of HTTP and RTSP, and user information in URLs.

RFC 9110 11 (the headers), RFC 7617 (Basic), RFC 7616 (Digest), RFC 3986 3.2.1 (URLs).

Rules of this file:

* one header may hold several challenges, whose parameters are separated by commas as they are themselves;
* what cannot be read is left out or stays text; nothing raises.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

PARTS_LIMIT: Final = 256
"""Parts of a header looked at; those of Digest have about ten."""

HASHCAT_DIGEST: Final = 11400
"""hashcat's mode for Digest with MD5, named after SIP, which uses it as HTTP does."""

_PART = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*"?)+')
_SCHEME = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]{1,64})(?:\s+(.*))?$", re.DOTALL)
_PARAMETER = re.compile(
    r'([A-Za-z0-9!#$%&\'*+.^_`|~-]{1,64})\s*=\s*("(?:[^"\\]|\\.)*"?|[^\s",]*)\s*$', re.DOTALL
)
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*")

USER_INFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31}://)([^\s/?#:@\"'<>]{0,1000}):([^\s/?#\"'<>]{0,1000})@")
"""A URL with a user and a password [RFC 3986 3.2.1]; a password may hold an ``@``."""


@dataclass(frozen=True, slots=True)
class Authentication:
    """A challenge, or the credentials that answer one."""

    scheme: str
    """In lower case."""
    token: str | None = None
    """Of Basic, NTLM, Negotiate and Bearer."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """By names in lower case."""


def parse_authentication(value: str) -> list[Authentication]:
    """Read a header of challenges (``WWW-Authenticate``) or of credentials (``Authorization``)."""
    found: list[tuple[str, str | None, dict[str, str]]] = []
    for part in [m[0].strip() for m in _PART.finditer(value)][:PARTS_LIMIT]:
        parameter = _PARAMETER.match(part)
        if parameter is not None and found:
            found[-1][2].setdefault(parameter[1].lower(), _unquoted(parameter[2]))
            continue
        scheme = _SCHEME.match(part)
        if scheme is None:
            continue
        rest = (scheme[2] or "").strip()
        first = _PARAMETER.match(rest)
        if rest and _TOKEN68.fullmatch(rest.replace(" ", "")) and (first is None or not first[2].strip("=")):
            found.append((scheme[1].lower(), rest.replace(" ", ""), {}))
        elif first is not None:
            found.append((scheme[1].lower(), None, {first[1].lower(): _unquoted(first[2])}))
        else:
            found.append((scheme[1].lower(), rest or None, {}))
    return [Authentication(*f) for f in found]


def _unquoted(text: str) -> str:
    if text.startswith('"'):
        text = text[1:-1] if len(text) > 1 and text.endswith('"') else text[1:]
        return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
    return text


def token_bytes(token: str) -> bytes | None:
    """A base64 token decoded, padding or not; None if it is none."""
    plain = token.rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (ValueError, binascii.Error):
        return None


def basic_of(raw: bytes) -> tuple[str, str] | None:
    """User and password of decoded Basic credentials [RFC 7617 2]; None if they are none."""
    user, colon, password = _text(raw).partition(":")
    return (user, password) if colon else None


def _text(raw: bytes) -> str:
    """UTF-8, or what older clients write."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def digest_line(parameters: Mapping[str, str], method: str) -> tuple[int, str] | None:
    """Digest credentials as hashcat takes them: mode and line; None where it has none.

    Only MD5 without session keys, and no protection of the body (``auth-int``), whose hash needs the body.
    """
    needed = [parameters.get(name, "") for name in ("username", "realm", "uri", "nonce", "response")]
    user, realm, uri, nonce, response = needed
    more = [parameters.get(name, "") for name in ("cnonce", "nc", "qop")]
    algorithm = parameters.get("algorithm", "MD5").upper()
    sound = all((user, uri, nonce)) and re.fullmatch(r"[0-9a-fA-F]{32}", response) is not None
    if not sound or algorithm != "MD5" or more[2] not in ("", "auth"):
        return None
    if any("*" in part or not part.isprintable() for part in (*needed, *more, method)):  # * separates
        return None
    parts = ["", "", user, realm, method, "", uri, "", nonce, *more, "MD5", response.lower()]
    return HASHCAT_DIGEST, "$sip$*" + "*".join(parts)


def user_info(text: str) -> list[tuple[str, str]]:
    """Users and passwords of the URLs in a text."""
    return [(m[2], m[3]) for m in USER_INFO.finditer(text)]
