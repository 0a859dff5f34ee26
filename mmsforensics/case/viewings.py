"""Attempts that belong together: a player tries one transport after the other until one plays.

Rules of this file:

* sessions of one client are attempts of one viewing when they are for the same content (host, port and path
  of the address, whatever its scheme; or alternatives of one entry of a redirector), each begins at most
  `ROLLOVER_NS` behind the end of the one before, and none before it has played; or the one that played broke
  off;
* a host that one session names and another knows by its address alone is taken for the same where the paths
  agree;
* a connection to a port of Windows Media on which nothing was said is a failed attempt of the viewing that
  follows from the same client at the same server; alone it is none, since scans look alike;
* a player that fetched a redirector, or was sent elsewhere, and nothing more of that content did not view it;
* what feeds a server (push, MSBD) and what was carved is no viewing, nor is a multicast: who listens is not
  seen.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mmsforensics.protocols.redirectors import content_key

ROLLOVER_NS: Final = 60_000_000_000
"""Between the end of an attempt and the next one. Players that get no answer try for 20 to 30 s; a minute
leaves room for a slow one."""

NO_VIEWING: Final = frozenset(("push", "msb", "msbd", "carved"))

ATTEMPT_PORTS: Final[dict[int, str]] = {1755: "mmst", 554: "rtsp"}
"""What a player tries at a port [MS-MMSP 2.1, MS-RTSP 2.1]."""

SENT_AWAY: Final = "redirected"

BROKEN: Final = ("reset", "closed by server", "interrupted")
"""Outcomes after which a player that was playing tries again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A session, as far as viewings go."""

    session_id: str
    transport: str
    client_ip: bytes
    server_ip: bytes
    server_port: int
    url: str
    start_ts: int
    end_ts: int
    outcome: str
    media_bytes: int
    packets_received: int
    packets_missing: int
    capture_id: str
    frame: int

    @property
    def key(self) -> tuple[str, int | None, str]:
        """Host, port and path."""
        return content_key(self.url)

    @property
    def played(self) -> bool:
        """Whether media came."""
        return self.packets_received > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A connection on which nothing was said."""

    client_ip: bytes
    server_ip: bytes
    port: int
    ts: int
    reason: str
    capture_id: str
    frame: int


@dataclass(slots=True)
class Viewing:
    """Attempts of one viewing."""

    number: int = 0
    sessions: list[Watched] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    @property
    def winner(self) -> Watched | None:
        """The session that played first."""
        return next((s for s in self.sessions if s.played), None)

    @property
    def open(self) -> bool:
        """Whether another attempt may follow: none has played, or what played broke off."""
        return self.winner is None or _broke_off(self.sessions[-1])

    @property
    def first_ts(self) -> int:
        """Begin of the first attempt."""
        return min([s.start_ts for s in self.sessions] + [r.ts for r in self.refusals])

    @property
    def last_ts(self) -> int:
        """End of the last session."""
        return max(s.end_ts for s in self.sessions)


def same_content(one: tuple[str, int | None, str], other: tuple[str, int | None, str]) -> bool:
    """Whether two addresses mean the same content, as `content_key` gives them."""
    if not one[0] or not other[0] or one[1:] != other[1:]:
        return False
    return one[0] == other[0] or is_address(one[0]) != is_address(other[0])


def is_address(host: str) -> bool:
    """Whether a host is written as an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def group(
    sessions: Iterable[Watched], refusals: Iterable[Refusal], entry_of: Mapping[str, tuple[int, int]]
) -> list[Viewing]:
    """Put the attempts of viewings together.

    Parameters
    ----------
    sessions, refusals
        In any order.
    entry_of : mapping
        By session: the redirector and the number of its entry that led to it.

    Returns
    -------
    list of Viewing
        In the order of their first sessions.
    """
    found: list[Viewing] = []
    open_for: dict[tuple[object, ...], list[Viewing]] = {}  # by client and what they have in common
    for session in sorted(sessions, key=lambda s: (s.start_ts, s.session_id)):
        if session.transport in NO_VIEWING:
            continue
        keys: list[tuple[object, ...]] = [(session.client_ip, *session.key[1:])]
        if session.session_id in entry_of:
            keys.append((session.client_ip, entry_of[session.session_id]))
        for key in keys:
            known = open_for.setdefault(key, [])
            known[:] = [v for v in known if v.open and session.start_ts - v.last_ts <= ROLLOVER_NS]
        mine = sorted({v.number: v for key in keys for v in open_for[key]}.items(), reverse=True)
        goes_on = next((v for _, v in mine if _continues(v, session, entry_of)), None)
        if goes_on is None:
            goes_on = Viewing(len(found))
            found.append(goes_on)
        goes_on.sessions.append(session)
        for key in keys:
            if goes_on not in open_for[key]:
                open_for[key].append(goes_on)
    of_client: dict[bytes, list[Viewing]] = {}
    for viewing in found:
        of_client.setdefault(viewing.sessions[0].client_ip, []).append(viewing)
    for refusal in refusals:
        _attach(of_client.get(refusal.client_ip, []), refusal)
    return [v for v in found if any(s.played or s.outcome != SENT_AWAY for s in v.sessions)]


def _continues(viewing: Viewing, session: Watched, entry_of: Mapping[str, tuple[int, int]]) -> bool:
    """Whether a session is another attempt of a viewing."""
    last = viewing.sessions[-1]
    if viewing.winner is not None and not (_broke_off(last) and session.start_ts >= last.end_ts):
        return False
    entry = entry_of.get(session.session_id)
    return any(
        (same_content(s.key, session.key) and _same_host(s, session))
        or (entry is not None and entry_of.get(s.session_id) == entry)
        for s in viewing.sessions
    )


def _same_host(one: Watched, other: Watched) -> bool:
    """Whether a host known by its address alone may be the one that the other session names."""
    return one.key[0] == other.key[0] or one.server_ip == other.server_ip


def _broke_off(session: Watched) -> bool:
    return not session.played or session.outcome in BROKEN or session.outcome.startswith("failed")


def _attach(viewings: Sequence[Viewing], refusal: Refusal) -> None:
    """Add a refusal to the viewing that it led to: the first that had not played and began soon behind it."""
    for viewing in viewings:
        first = viewing.sessions[0]
        if all(s.server_ip != refusal.server_ip for s in viewing.sessions):
            continue
        winner = viewing.winner
        until = winner.start_ts if winner is not None else viewing.last_ts
        if refusal.ts <= until and first.start_ts - refusal.ts <= ROLLOVER_NS:
            viewing.refusals.append(refusal)
            return


def attempts(viewing: Viewing) -> list[dict[str, object]]:
    """The attempts in order, as JSON holds them."""
    told: list[tuple[int, dict[str, object]]] = []
    for session in viewing.sessions:
        address = str(ipaddress.ip_address(session.server_ip))
        row: dict[str, object] = {
            "transport": session.transport,
            "server_ip": address,
            "server_port": session.server_port,
            "session_id": session.session_id,
            "played": session.played,
            "outcome": session.outcome,
        }
        told.append((session.start_ts, row))
    for refusal in viewing.refusals:
        row = {
            "transport": ATTEMPT_PORTS[refusal.port],
            "transport_inferred": True,
            "server_ip": str(ipaddress.ip_address(refusal.server_ip)),
            "server_port": refusal.port,
            "capture_id": refusal.capture_id,
            "frame": refusal.frame,
            "played": False,
            "outcome": refusal.reason,
        }
        told.append((refusal.ts, row))
    told.sort(key=lambda t: t[0])
    return [row for _, row in told]
