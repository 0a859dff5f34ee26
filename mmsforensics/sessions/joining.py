"""Which session an HTTP exchange belongs to.

Rules of this file:

* exchanges for one URL on one connection are one session; a request for ``*`` belongs to its newest, and one
  behind media whose request was not captured to theirs;
* a client-id [MS-WMSP 2.2.1.4.5] or push-id [MS-WMHTTP 2.2.1.3.1] joins connections, however long the pause,
  when client, server, path and player GUID agree too: old servers give one number to many. Of several such
  sessions a Play belongs to the newest that has had no media, else to one that has none running (where an
  end has left the connection, what is on its way runs no longer); where all have, it begins a viewing of its
  own, so that two streams never get into one file;
* without such a number a connection joins one that described the same URL a short while ago, or was asked who
  it is; a report (POST) joins what was played. A GET otherwise begins a viewing of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mmsforensics.protocols.wmsp_directives import PUSH_REQUEST_TYPES
from mmsforensics.sessions import automaton
from mmsforensics.sessions.story import Story
from mmsforensics.streams.flow import Endpoint

if TYPE_CHECKING:
    from mmsforensics.sessions.exchange import Exchange

JOIN_WITHIN_NS = 60_000_000_000
"""A connection that plays joins one that described the same URL at most this long ago. Players reconnect at
once; a minute leaves room for a slow one, and keeps two viewings of one URL apart."""

KEPT_SESSIONS = 512
"""Sessions between a client's and a server's address that are remembered: a proxy has many."""

Ends = tuple[bytes, bytes, int]


class HttpJoining:
    """Finds the session of an exchange, or begins one."""

    def __init__(self, new_story: Callable[[Endpoint, Endpoint, int], Story]) -> None:
        self._new_story = new_story
        self._known: dict[Ends, list[Story]] = {}

    def find(self, exchange: Exchange, client: Endpoint, server: Endpoint, first_frame: int) -> Story:
        """The session that an exchange of the connection with this first frame belongs to."""
        known = self._known.setdefault((client.address, server.address, server.port), [])
        alike = [s for s in reversed(known) if _same_kind(s, exchange)]
        story = (
            _on_connection(alike, exchange, server, first_frame)
            or _by_token(alike, exchange)
            or _by_url(alike, exchange, server)
        )
        if story is None:
            story = self._new_story(client, server, first_frame)
            story.asked = exchange.url(server, "mmsh") if exchange.request is not None else ""
            known.append(story)
            del known[:-KEPT_SESSIONS]
        story.connections.add(first_frame)
        return story


def _same_kind(story: Story, exchange: Exchange) -> bool:
    """Whether both push, or neither does."""
    return (story.transport == "push") == (exchange.kind in PUSH_REQUEST_TYPES)


def _on_connection(
    newest_first: Sequence[Story], exchange: Exchange, server: Endpoint, first_frame: int
) -> Story | None:
    here = [s for s in newest_first if first_frame in s.connections]
    if exchange.target == "*":
        return here[0] if here else None
    url = exchange.url(server, "mmsh")
    known = next((s for s in here if s.asked == url), None) or next((s for s in here if not s.asked), None)
    if known is not None and not known.asked and exchange.request is not None:
        known.asked = url
    return known


def _by_token(newest_first: Sequence[Story], exchange: Exchange) -> Story | None:
    found = [
        s
        for s in newest_first
        if s.tokens & exchange.tokens and _same_player(s, exchange) and _same_path(s, exchange)
    ]
    if exchange.kind != "Play":
        return found[0] if found else None
    idle = [s for s in found if not s.played_on]
    return next((s for s in idle if s.received == 0), idle[0] if idle else None)


def _by_url(newest_first: Sequence[Story], exchange: Exchange, server: Endpoint) -> Story | None:
    url = exchange.url(server, "mmsh")
    known = next((s for s in newest_first if s.asked == url), None)
    first = exchange.request or exchange.response
    if known is None or first is None or not _same_player(known, exchange):
        return None
    if exchange.kind == "Play" and known.played_on:
        return None
    reports = exchange.request is not None and exchange.request.method == "POST"
    described = known.received == 0 and (known.phase != automaton.FAILED or known.challenged)
    near = first.at.ts - known.end_ts <= JOIN_WITHIN_NS
    return known if near and (reports or described) else None


def _same_player(story: Story, exchange: Exchange) -> bool:
    one, other = exchange.guid.lower(), story.player_guid.lower()
    return not one or not other or one == other


def _same_path(story: Story, exchange: Exchange) -> bool:
    return exchange.target == "*" or _path(exchange.target) == _path(story.asked)


def _path(url: str) -> str:
    try:
        return urlsplit(url).path or "/"
    except ValueError:
        return url
