"""Who authenticated, and what of it an eavesdropper has: rows of `credentials`.

Rules of this file:

* a connection that carries a session is looked at as a whole, requests before the first one that shows
  Windows Media included; of a connection that never shows any, nothing is told;
* a challenge and its answer belong together by connection, proxy or server, and over MMS by the cookie; the
  answer is held against the last challenge before it [MS-MMSP 2.2.4.24];
* what is said again on a connection is one row, counted; an answer that was already given on another
  connection is marked as replayed;
* a token that cannot be read is a row of its own with what is wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mmsforensics.packets import known_time
from mmsforensics.protocols import Message, MmsMessage, Request, Response
from mmsforensics.protocols.authentication import (
    Authentication,
    basic_of,
    digest_line,
    parse_authentication,
    token_bytes,
    user_info,
)
from mmsforensics.protocols.messages import At
from mmsforensics.protocols.ntlm import (
    BadToken,
    NtlmAuthenticate,
    NtlmChallenge,
    NtlmNegotiate,
    beyond_hashcat,
    hash_line,
    mechanism,
    parse_ntlm,
)
from mmsforensics.sessions.documents import Document
from mmsforensics.sessions.mms_session import ip_text
from mmsforensics.sessions.model import Recorder
from mmsforensics.sessions.secrets import HOST_USER_INFO
from mmsforensics.sessions.story import Story
from mmsforensics.sessions.wording import hresult_name
from mmsforensics.streams.flow import Endpoint

KEPT = 1024
"""Rows of a connection that wait for its end, to be counted; of one that shows no session by then, more are
let go."""

ANSWERS = {"authorization": "Authorization", "proxy-authorization": "Proxy-Authorization"}
CHALLENGES = {"www-authenticate": "WWW-Authenticate", "proxy-authenticate": "Proxy-Authenticate"}


@dataclass(slots=True)
class _Row:
    """A row that may be seen again."""

    at: At
    story: Story | None
    values: dict[str, object]
    times: int = 1


@dataclass(slots=True)
class _Connection:
    """What was said on a connection."""

    client: Endpoint
    server: Endpoint
    stories: list[Story]
    challenges: dict[object, NtlmChallenge] = field(default_factory=dict)
    realms: dict[object, str] = field(default_factory=dict)
    rows: dict[tuple[object, object, bytes], _Row] = field(default_factory=dict)
    asked: dict[int, list[_Row]] = field(default_factory=dict)  # answers by number of their request


class Credentials:
    """Hears who authenticates."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._connections: dict[int, _Connection] = {}
        self._given: dict[bytes, int] = {}  # answers, and the connection that gave each first

    def hear(
        self,
        uid: int,
        message: Message,
        story: Story | None,
        stories: list[Story],
        ends: tuple[Endpoint, Endpoint],
    ) -> None:
        """Take a message of the connection `uid` between `ends`, client and server."""
        match message:
            case Request():
                self._request(self._of(uid, stories, ends), uid, message, story)
            case Response():
                self._response(self._of(uid, stories, ends), message, story)
            case MmsMessage():
                self._mms(self._of(uid, stories, ends), uid, message, story)
            case _:
                pass

    def _of(self, uid: int, stories: list[Story], ends: tuple[Endpoint, Endpoint]) -> _Connection:
        if uid not in self._connections:
            self._connections[uid] = _Connection(*ends, stories)
        return self._connections[uid]

    def read(self, document: Document) -> None:
        """Take a text that may hold URLs with passwords."""
        if document.story is None or b"@" not in document.data:
            return
        connection = _Connection(document.client, document.server, [document.story])
        text = document.data.decode("utf-8", "backslashreplace")
        self._urls(connection, document.at, document.story, "URL in a document", [text], "")
        self._flush(connection)

    def close(self, uid: int) -> None:
        """Take note that a connection has ended."""
        connection = self._connections.pop(uid, None)
        if connection is not None:
            self._flush(connection)

    def finish(self) -> None:
        """Take note that everything has ended."""
        for uid in sorted(self._connections):
            self.close(uid)

    # --- what is heard --------------------------------------------------------------------------------

    def _request(self, on: _Connection, uid: int, request: Request, story: Story | None) -> None:
        method = request.header("x-proxy-client-verb") or request.method  # [MS-WMSP 2.2.1]
        rows = []
        for name, value in request.headers:
            carrier = ANSWERS.get(name.lower())
            for answer in parse_authentication(value) if carrier else ():
                key = (carrier == "Proxy-Authorization", None)
                values = self._answer(on, key, answer, method)
                values |= {"carrier": carrier, "target": request.target, "role": "answer"}
                rows.append(self._add(on, uid, request.at, story, values, value))
        self._urls(on, request.at, story, "URL of a request", [request.target], request.target)
        referers = [v for k, v in request.headers if k.lower() == "referer"]
        self._urls(on, request.at, story, "URL in Referer", referers, request.target)
        if rows and request.at.direction == "client":
            on.asked[request.number] = rows
            for old in list(on.asked)[:-KEPT]:
                del on.asked[old]

    def _response(self, on: _Connection, response: Response, story: Story | None) -> None:
        from_server = response.at.direction == "server"  # RTSP: a client answers requests too
        for row in on.asked.pop(response.number, ()) if from_server else ():
            row.values["answered"] = f"{response.status} {response.reason}".strip()
        for name, value in response.headers:
            carrier = CHALLENGES.get(name.lower())
            for challenge in parse_authentication(value) if carrier else ():
                key = (carrier == "Proxy-Authenticate", None)
                values = self._challenge(on, key, challenge)
                values |= {"carrier": carrier, "role": "challenge"}
                self._add(on, -1, response.at, story, values, f"{challenge}")

    def _mms(self, on: _Connection, uid: int, message: MmsMessage, story: Story | None) -> None:
        fields = message.fields
        match message.name:
            case "SecurityChallenge":
                token, key = fields.get("pToken"), (False, fields.get("cookie"))
                if isinstance(token, bytes):
                    values = self._mms_challenge(on, key, token)
                    values |= {"carrier": message.name, "role": "challenge"}
                    self._add(on, -1, message.at, story, values, token.hex())
            case "SecurityResponse" | "OpenFile":
                token = fields.get("pToken") or fields.get("tokenData")
                key = (False, fields.get("cookie"))
                target = str(fields.get("fileName", "")) or (story.content_name if story is not None else "")
                if isinstance(token, bytes) and token:
                    values = self._mms_answer(on, key, token)
                    values |= {"carrier": message.name, "target": target, "role": "answer"}
                    row = self._add(on, uid, message.at, story, values, token.hex())
                    on.asked.setdefault(0, []).append(row)
                self._urls(on, message.at, story, "URL of a request", [target], target)
            case "Connect":
                subscriber = str(fields.get("subscriberName", ""))
                for _, user, password in HOST_USER_INFO.findall(subscriber):
                    self._password(on, message.at, story, "Host of Connect", user, password, "")
            case "ReportOpenFile":
                for row in on.asked.pop(0, ()):
                    row.values["answered"] = hresult_name(fields.get("hr"))
            case _:
                pass

    # --- schemes --------------------------------------------------------------------------------------

    def _answer(self, on: _Connection, key: object, answer: Authentication, method: str) -> dict[str, object]:
        """What credentials of HTTP or RTSP hold."""
        values: dict[str, object] = {"scheme": answer.scheme, "realm": on.realms.get((key, answer.scheme))}
        raw = token_bytes(answer.token) if answer.token else None
        if answer.scheme in ("basic", "ntlm", "negotiate") and raw is None:
            return values | {
                "problem": f"expected a base64 token, found {len(answer.token or '')} characters"
            }
        if answer.scheme == "basic":
            return values | _basic(raw or b"")
        if answer.scheme in ("ntlm", "negotiate"):
            return values | _ntlm(on, key, raw or b"", answer.scheme)
        if answer.scheme == "digest":
            return values | _digest(answer.parameters, method)
        return values | {"secret": answer.token or json.dumps(dict(answer.parameters), sort_keys=True)}

    def _challenge(self, on: _Connection, key: object, challenge: Authentication) -> dict[str, object]:
        realm = challenge.parameters.get("realm")
        if realm is not None:
            on.realms[(key, challenge.scheme)] = realm
        values: dict[str, object] = {"scheme": challenge.scheme, "realm": realm}
        if challenge.token is not None and challenge.scheme in ("ntlm", "negotiate"):
            raw = token_bytes(challenge.token)
            if raw is None:
                return values | {"problem": "expected a base64 token"}
            return values | _ntlm(on, key, raw, challenge.scheme)
        if challenge.parameters:
            values["details"] = json.dumps(dict(challenge.parameters), sort_keys=True)
        return values

    def _mms_challenge(self, on: _Connection, key: object, token: bytes) -> dict[str, object]:
        """A token of SecurityChallenge: NTLM begins with two zero bytes, Basic is text [MS-MMSP 2.2.4.14]."""
        if token[:2] == b"\0\0" or parse_ntlm(token) is not None:
            return _ntlm(on, key, token, "ntlm")
        text = token[: len(token) & ~1].decode("utf-16-le", "backslashreplace").split("\0")[0]
        realm = parse_authentication(f"basic {text}")
        named = realm[0].parameters.get("realm") if realm else None
        if named is not None:
            on.realms[(key, "basic")] = named
        return {"scheme": "basic", "realm": named}

    def _mms_answer(self, on: _Connection, key: object, token: bytes) -> dict[str, object]:
        """A token of SecurityResponse or OpenFile [MS-MMSP 2.2.4.21, 2.2.4.24]."""
        if token[:2] == b"\0\0" or parse_ntlm(token) is not None:
            return _ntlm(on, key, token, "ntlm")
        raw = token_bytes(token.split(b"\0")[0].decode("latin-1").strip())
        values: dict[str, object] = {"scheme": "basic", "realm": on.realms.get((key, "basic"))}
        if raw is None:
            return values | {"problem": "expected base64 of user:password or an NTLM message"}
        return values | _basic(raw)

    # --- rows -----------------------------------------------------------------------------------------

    def _urls(
        self, on: _Connection, at: At, story: Story | None, carrier: str, texts: Iterable[str], target: str
    ) -> None:
        for text in texts:
            for user, password in user_info(text):
                self._password(on, at, story, carrier, user, password, target)

    def _password(
        self,
        on: _Connection,
        at: At,
        story: Story | None,
        carrier: str,
        user: str,
        password: str,
        target: str,
    ) -> None:
        values: dict[str, object] = {"scheme": "url", "user": user, "secret": password}
        values |= {"carrier": carrier, "target": target or None, "role": "answer"}
        self._add(on, -1, at, story, values, f"{user}:{password}")

    def _add(
        self,
        on: _Connection,
        uid: int,
        at: At,
        story: Story | None,
        values: dict[str, object],
        said: str,
    ) -> _Row:
        """Keep a row, or count it; `uid` is negative for what cannot be replayed."""
        key = (values["carrier"], values["scheme"], hashlib.sha256(said.encode("utf-8", "replace")).digest())
        known = on.rows.get(key)
        if known is not None:
            known.times += 1
            known.story = known.story or story
            return known
        if len(on.rows) >= KEPT:
            self._flush(on)
        if uid >= 0 and values.get("hash_line") is not None:
            values["replayed"] = self._given.setdefault(key[2], uid) != uid
        row = on.rows[key] = _Row(at, story, values)
        return row

    def _flush(self, on: _Connection) -> None:
        """Tell what was said, if the connection carries a session."""
        rows = list(on.rows.values())
        on.rows.clear()
        on.asked.clear()
        if not on.stories:
            return
        ends = {
            "client_ip": ip_text(on.client.address),
            "client_port": on.client.port,
            "server_ip": ip_text(on.server.address),
            "server_port": on.server.port,
        }
        for row in rows:
            story = row.story or on.stories[0]
            values = {**row.values, **ends, "ts": known_time(row.at.ts), "times": row.times}
            self._recorder.row("credentials", story.number, row.at.frame, values)


def _basic(raw: bytes) -> dict[str, object]:
    found = basic_of(raw)
    if found is None:
        return {"problem": f"expected user:password, found {len(raw)} bytes without a colon"}
    user, password = found
    domain, slash, name = user.rpartition("\\")
    return {"user": name if slash else user, "domain": domain or None, "secret": password}


def _digest(parameters: Mapping[str, str], method: str) -> dict[str, object]:
    line = digest_line(parameters, method)
    return {
        "user": parameters.get("username"),
        "realm": parameters.get("realm"),
        "hashcat_mode": line[0] if line else None,
        "hash_line": line[1] if line else None,
        "details": json.dumps({**parameters, "method": method}, sort_keys=True),
        "problem": None
        if line
        else "hashcat has no form for it: a parameter is missing, or it is not plain MD5",
    }


def _ntlm(on: _Connection, key: object, token: bytes, scheme: str) -> dict[str, object]:
    """What a token of NTLM or Negotiate holds; a challenge is kept for its answer."""
    message = parse_ntlm(token)
    match message:
        case None:
            kind = mechanism(token)
            if scheme == "negotiate" and kind is not None:
                return {"scheme": f"negotiate {kind}", "details": json.dumps({"bytes": len(token)})}
            if not token.strip(b"\0"):
                return {"scheme": scheme}  # asks for the first message
            return {"scheme": scheme, "problem": f"expected an NTLMSSP message, found {len(token)} bytes"}
        case BadToken():
            found = f"expected {message.expected}, found {message.found}, at byte {message.offset}"
            return {"scheme": scheme, "problem": found}
        case NtlmNegotiate():
            details = {"flags": f"0x{message.flags:08x}"}
            return {
                "scheme": "ntlm",
                "domain": message.domain or None,
                "host": message.workstation or None,
                "details": json.dumps(details),
            }
        case NtlmChallenge():
            on.challenges[key] = message
            told = {"flags": f"0x{message.flags:08x}", "challenge": message.challenge.hex(), **message.info}
            return {
                "scheme": "ntlm",
                "host": message.info.get("MsvAvNbComputerName") or message.target or None,
                "domain": message.info.get("MsvAvNbDomainName"),
                "details": json.dumps(told, sort_keys=True),
            }
        case NtlmAuthenticate():
            return _authenticated(message, on.challenges.get(key))


def _authenticated(message: NtlmAuthenticate, challenge: NtlmChallenge | None) -> dict[str, object]:
    line = hash_line(challenge.challenge, message) if challenge is not None else None
    problem = None
    if message.version != "anonymous" and line is None:
        problem = "the challenge was not captured" if challenge is None else "hashcat has no form for it"
    elif line is not None and beyond_hashcat(message):
        problem = "longer than hashcat takes"
    details = {
        "flags": f"0x{message.flags:08x}",
        "lm": message.lm.hex(),
        "nt": message.nt.hex(),
        "version": message.version,
    }
    return {
        "scheme": "ntlm anonymous" if message.version == "anonymous" else f"ntlm {message.version[:2]}",
        "user": message.user or None,
        "domain": message.domain or None,
        "host": message.workstation or None,
        "hashcat_mode": line[0] if line else None,
        "hash_line": line[1] if line else None,
        "details": json.dumps(details, sort_keys=True),
        "problem": problem,
    }
