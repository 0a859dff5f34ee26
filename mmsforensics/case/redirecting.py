"""From redirectors to the sessions they led to.

Rules of this file:

* a redirector led to a session when the same client opened what one of its entries names, as the same content
  whatever the scheme, at most `LED_WITHIN_NS` behind it, or behind the end of a session that the same
  redirector led to: a playlist goes on. Of several redirectors it is the last one before;
* a session that knows its server by the address alone is joined by the path; that is said;
* a redirector given as evidence has neither client nor time: it is joined to every session of the same
  content;
* a response of status 30x and a link to open mean nothing by themselves: they are rows when they lead to a
  session or to a redirector that is a row, a response also when it belongs to a session;
* a script command may send the player elsewhere at any time until its session is over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mmsforensics.case.viewings import Watched, same_content
from mmsforensics.protocols.redirectors import Entry, Redirector, content_key
from mmsforensics.sessions.redirections import BY_MESSAGE, Redirection

LED_WITHIN_NS: Final = 60_000_000_000
"""From a redirector to the session it led to. Players open it at once; one that tries a transport that does
not answer loses 20 to 30 s before the next one."""

Content = tuple[str, int | None, str]
"""Host, port and path, as `content_key` gives them."""

BY_TARGET: Final = "client, target and time"
BY_PATH: Final = "client, path and time; the session knows its server by the address alone"
BY_CONTENT: Final = "target; nothing tells who read the file"


@dataclass(slots=True)
class Seen:
    """A redirector, with where it was seen."""

    capture_id: str
    frame: int | None
    carrier: str | None
    """Session whose exchange it was."""
    redirector: Redirector
    seen: Redirection | None
    """None of one given as evidence."""
    led: dict[tuple[int, int], list[tuple[Watched, str]]] = field(default_factory=dict)
    """Sessions by entry and alternative, each with why."""
    last: int = 0
    """End of the last session that it led to, or of the one that it stands in."""

    @property
    def ts(self) -> int:
        """Time of its first byte."""
        return self.seen.ts if self.seen is not None else 0


def join(seen: Sequence[Seen], sessions: Sequence[Watched]) -> dict[str, tuple[int, int]]:
    """Find out which sessions redirectors led to, and note it with them.

    Returns
    -------
    dict
        By session: the position of the redirector in `seen`, and the number of the entry.
    """
    entry_of: dict[str, tuple[int, int]] = {}
    by_path: dict[str, list[tuple[int, Entry]]] = {}
    ends = {session.session_id: session.end_ts for session in sessions}
    for position, item in enumerate(seen):
        if item.redirector.kind.startswith("script "):
            item.last = ends.get(item.carrier or "", 0)
        for entry in item.redirector.entries:
            by_path.setdefault(content_key(entry.target)[2], []).append((position, entry))
    for session in sorted(sessions, key=lambda s: (s.start_ts, s.session_id)):
        named = by_path.get(session.key[2], [])
        for position, entry in named:
            if seen[position].seen is None and _why(entry, session) == BY_TARGET:
                _note(seen[position], entry, session, BY_CONTENT)
        best = _best(seen, named, session)
        if best is not None:
            position, entry, why = best
            _note(seen[position], entry, session, why)
            seen[position].last = max(seen[position].last, session.end_ts)
            if not seen[position].redirector.kind.startswith(BY_MESSAGE):
                entry_of[session.session_id] = (position, entry.number)
    return entry_of


def _best(
    seen: Sequence[Seen], named: Sequence[tuple[int, Entry]], session: Watched
) -> tuple[int, Entry, str] | None:
    """The redirector and its entry that led to a session: the latest, and of its entries the first unused."""
    found: list[tuple[int, bool, int, Entry, str]] = []
    for position, entry in named:
        item = seen[position]
        if item.seen is None or item.seen.client_ip != session.client_ip or item.ts > session.start_ts:
            continue
        if session.start_ts - max(item.ts, item.last) > LED_WITHIN_NS or item.carrier == session.session_id:
            continue
        why = _why(entry, session)
        if why:
            used = (entry.number, entry.alternative) in item.led
            found.append((item.ts, not used, position, entry, why))
    if not found:
        return None
    _, _, position, entry, why = max(found, key=lambda f: (f[0], f[1], -f[3].number, -f[3].alternative))
    return position, entry, why


def _why(entry: Entry, session: Watched) -> str:
    """Why an entry means a session's content; empty if it does not."""
    target = content_key(entry.target)
    if not same_content(target, session.key):
        return ""
    return BY_TARGET if target[0] == session.key[0] else BY_PATH


def _note(item: Seen, entry: Entry, session: Watched, why: str) -> None:
    item.led.setdefault((entry.number, entry.alternative), []).append((session, why))


def telling(seen: Sequence[Seen]) -> list[Seen]:
    """Those that are rows, in the order given; see the rules of this file for responses of status 30x."""
    kept: set[int] = set()
    fetched: dict[Content, list[Redirection]] = {}  # redirectors that are rows, by their own address
    for item in sorted(seen, key=lambda s: s.ts, reverse=True):
        little = item.seen is not None and item.seen.means_little
        if little and not item.led and not _leads_on(item, fetched):
            continue
        kept.add(id(item))
        if item.seen is not None:
            fetched.setdefault(content_key(item.seen.url), []).append(item.seen)
    return [item for item in seen if id(item) in kept]


def _leads_on(item: Seen, fetched: Mapping[Content, Sequence[Redirection]]) -> bool:
    """Whether a response sent the client to a redirector that is a row."""
    assert item.seen is not None
    return any(
        other.client_ip == item.seen.client_ip and 0 <= other.ts - item.ts <= LED_WITHIN_NS
        for other in fetched.get(content_key(item.redirector.entries[0].target), ())
    )


def rows(item: Seen) -> Iterator[tuple[Entry | None, Watched | None, str | None]]:
    """Rows of a redirector: each entry with each session that it led to; one row at least."""
    if not item.redirector.entries:
        yield None, None, None
    for entry in item.redirector.entries:
        led = item.led.get((entry.number, entry.alternative), [])
        if not led:
            yield entry, None, None
        for session, why in led:
            yield entry, session, why
