"""Which session an entry of a log speaks of, and where the two disagree.

Rules of this file:

* evidence for a match is the player's GUID, the client's address, the path of the URL, and the time; how good
  a match is says a word, and each piece of evidence is a reason. A GUID that is a constant of its program
  proves nothing;
* an entry is made when a session begins (Windows Media Services 9 says so) or when it ends (a player's log):
  its time agrees when it is at most `ALLOWANCE_NS` before the beginning, within, or after the end;
* a log's clock and its time zone may differ from the capture's: `shift_of` takes the difference that makes
  the most entries agree, none if that does as well, else whole quarters of an hour;
* what is as well matched with several sessions is matched with none;
* entry and capture disagree only where one of them could not have come of the other; numbers are given for
  both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote, urlsplit

import numpy as np

ALLOWANCE_NS: Final = 120_000_000_000
"""Difference of time that still agrees: clocks of hosts without a time service are minutes off, and a player
reports some seconds after it has stopped."""

QUARTER_NS: Final = 900_000_000_000
ZONES: Final = 14 * 4
"""Time zones lie at most 14 hours from UTC, at quarters of an hour."""

LEAST_AGREEING: Final = 3
"""Entries of different sessions that prove a clock to be off by what is no time zone."""

MOST_PAIRS: Final = 10_000
"""Pairs of entry and session that a shift is looked for in."""

OWN_SHIFTS: Final = 200
"""Pairs whose own difference is tried as a shift."""

CONSTANT_GUIDS: Final = frozenset(
    {
        "7e667f5d-a661-495e-a512-f55686dda178",  # FFmpeg over MMS
        "c77e7400-738a-11d2-9add-0020af0a3278",  # libmms, FFmpeg over HTTP
        "33715801-bab3-9d85-24e9-03b90328270a",  # MPlayer
        "0000aa00-0a00-00a0-aa0a-0000a0aa0aa0",  # nmap
        "68c0a090-8797-11d2-a2b3-00a0c9b60551",  # Windows Media Player 6.4
    }
)
"""Player GUIDs that many hosts share."""

NO_ADDRESS: Final = frozenset({"", "-", "0.0.0.0", "::"})

QUALITIES: Final = ("strong", "fair", "weak")
"""From the best to the least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFacts:
    """What the case holds of a session."""

    session_id: str
    transport: str
    client_ip: str
    server_ip: str
    url: str
    client_version: str
    player_guid: str
    start_ts: int
    end_ts: int
    outcome: str
    media_bytes: int
    packets_received: int
    packets_missing: int
    acked_unseen: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a log's entry says that tells its session."""

    guid: str
    """As `plain_guid` gives it; empty for none."""
    client: str
    """Address; empty for none."""
    server: str
    paths: frozenset[str]
    """As `path_of` gives them."""
    ts: int | None
    """UTC, ns."""


def entry_of(values: Mapping[str, object], *, client: object, server: object, ts: object) -> Entry:
    """An entry by the columns of its log; addresses and time as they are better known than from it."""
    urls = [str(values[c]) for c in ("cs_uri_stem", "cs_url") if values.get(c)]
    told = str(client or "")
    return Entry(
        guid=plain_guid(str(values.get("c_playerid") or "")),
        client="" if told in NO_ADDRESS else told,
        server=str(server or ""),
        paths=frozenset(path for path in map(path_of, urls) if path),
        ts=ts if isinstance(ts, int) else None,
    )


@dataclass(frozen=True, slots=True)
class Match:
    """A session for an entry, or why there is none."""

    session: SessionFacts | None
    quality: str | None
    """One of `QUALITIES`; ``ambiguous`` where several sessions match as well; None without one."""
    reasons: tuple[str, ...] = ()
    difference_ns: int | None = None
    """Time of the entry less the nearest moment of the session, the shift taken off; 0 within it."""


NO_MATCH: Final = Match(None, None)


@dataclass(frozen=True, slots=True)
class _Known:
    """A session as it is compared."""

    session: SessionFacts
    guid: str
    path: str


class Sessions:
    """The sessions of a case, to be found by what a log says of them."""

    def __init__(self, sessions: Iterable[SessionFacts]) -> None:
        self._all = [_Known(s, plain_guid(s.player_guid), path_of(s.url)) for s in sessions]
        self._by_guid: dict[str, list[_Known]] = {}
        self._by_client: dict[str, list[_Known]] = {}
        self._by_path: dict[str, list[_Known]] = {}
        for known in self._all:
            self._by_guid.setdefault(known.guid, []).append(known)
            self._by_client.setdefault(known.session.client_ip, []).append(known)
            self._by_path.setdefault(known.path, []).append(known)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def guids(self) -> list[str]:
        """Player GUIDs, in lower case and without braces."""
        return [guid for guid in self._by_guid if guid]

    @property
    def clients(self) -> list[str]:
        """Addresses of clients."""
        return list(self._by_client)

    @property
    def paths(self) -> list[str]:
        """Paths of URLs, as `path_of` gives them."""
        return [path for path in self._by_path if path]

    def _candidates(self, entry: Entry) -> Iterable[_Known]:
        """Sessions that share a GUID or an address with an entry, or without an address a path."""
        found = list(self._by_guid.get(entry.guid, ())) if entry.guid else []
        found += self._by_client.get(entry.client, ()) if entry.client else ()
        if not entry.client:
            for path in entry.paths:
                found += self._by_path.get(path, ())
        return {known.session.session_id: known for known in found}.values()

    def possible(self, entry: Entry) -> list[SessionFacts]:
        """Sessions that an entry may speak of, whatever its time."""
        judged = [_judge(entry, known, None) for known in self._candidates(entry)]
        return [m.session for m in judged if m.quality is not None and m.session is not None]

    def match(self, entry: Entry, shift: Shift | None = None) -> Match:
        """The session that an entry speaks of."""
        judged = [_judge(entry, known, shift) for known in self._candidates(entry)]
        matches = [m for m in judged if m.quality is not None]
        if not matches:
            return NO_MATCH
        best = min(QUALITIES.index(m.quality or "") for m in matches)
        matches = [m for m in matches if m.quality == QUALITIES[best]]
        nearest = min(abs(m.difference_ns or 0) for m in matches)
        matches = [m for m in matches if abs(m.difference_ns or 0) == nearest]
        if len(matches) == 1:
            return matches[0]
        names = sorted(m.session.session_id for m in matches if m.session is not None)
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        return Match(None, "ambiguous", (f"as well matched: {', '.join(names[:8])}{more}",))


@dataclass(frozen=True, slots=True)
class Shift:
    """How much a log's clock is ahead of the capture's."""

    ns: int
    reason: str
    """In words."""


def _judge(entry: Entry, known: _Known, shift: Shift | None) -> Match:
    """Hold an entry against a session."""
    reasons: list[str] = []
    session = known.session
    guid = bool(entry.guid) and entry.guid == known.guid
    if guid and entry.guid in CONSTANT_GUIDS:
        guid = False
        reasons.append("player GUID, but a constant of its program")
    elif guid:
        reasons.append("player GUID")
    elif entry.guid and known.guid:
        reasons.append("player GUID differs")
    told = bool(entry.client)
    address = told and entry.client == session.client_ip
    reasons += ["client address"] if address else ["client address differs"] if told else []
    if entry.server and entry.server == session.server_ip:
        reasons.append("server address")
    path = known.path in entry.paths
    reasons += ["path of the URL"] if path else []
    difference = difference_ns(entry.ts, session, shift)
    time = difference is not None and abs(difference) <= ALLOWANCE_NS
    if time:
        reasons.append("time" if shift is None or not shift.ns else f"time, {shift.reason}")
    quality = _quality(guid=guid, address=address, path=path, time=time, told=told)
    if quality == "strong" and "player GUID differs" in reasons:
        quality = "fair"
    return Match(session, quality, tuple(reasons), difference)


def _quality(*, guid: bool, address: bool, path: bool, time: bool, told: bool) -> str | None:
    if not guid and told and not address:
        return None  # another client
    if time and (guid or (address and path)):
        return "strong"
    if (guid and (address or path)) or (time and address):
        return "fair"
    if guid or (address and path) or (path and time):
        return "weak"
    return None


def difference_ns(ts: int | None, session: SessionFacts, shift: Shift | None = None) -> int | None:
    """Time of an entry less the nearest moment of a session; 0 within it."""
    if ts is None:
        return None
    at = ts - (shift.ns if shift is not None else 0)
    return min(at - session.start_ts, 0) or max(at - session.end_ts, 0)


def shift_of(pairs: Sequence[tuple[int, SessionFacts]]) -> Shift | None:
    """How much a log's clock is ahead, of entries' times and the sessions that they may speak of.

    None when no shift makes an entry agree.
    """
    pairs = pairs[:MOST_PAIRS]
    if not pairs:
        return None
    ts = np.array([t for t, _ in pairs], dtype=np.int64)
    start = np.array([s.start_ts for _, s in pairs], dtype=np.int64)
    end = np.array([s.end_ts for _, s in pairs], dtype=np.int64)
    ids = np.unique([s.session_id for _, s in pairs], return_inverse=True)[1]

    def agreeing(shift: int) -> int:
        """Sessions of which an entry agrees."""
        at = ts - shift
        return len(np.unique(ids[(at >= start - ALLOWANCE_NS) & (at <= end + ALLOWANCE_NS)]))

    quarters = sorted(range(-ZONES, ZONES + 1), key=lambda q: (abs(q), q))
    zone = max(quarters, key=lambda q: (agreeing(q * QUARTER_NS), -abs(q)))
    own = np.unique(np.concatenate((ts - start, ts - end))[: 2 * OWN_SHIFTS]).tolist()
    clock = max(own, key=lambda shift: (agreeing(shift), -abs(shift)))
    most = agreeing(zone * QUARTER_NS)
    if agreeing(clock) > max(most, LEAST_AGREEING - 1):
        sign = "ahead" if clock > 0 else "behind"
        return Shift(
            clock, f"clock of the log {abs(clock) / 1e9:.0f} s {sign}, by {agreeing(clock)} sessions"
        )
    if most == 0:
        return None
    if zone == 0:
        return Shift(0, "")
    return Shift(zone * QUARTER_NS, f"time zone of the log {zone * 15:+d} minutes from what it says")


def plain_guid(text: str) -> str:
    """A GUID in lower case and without braces; empty for none."""
    found = re.search(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", text.lower())
    return found[0] if found else ""


def path_of(url: str) -> str:
    """The path of a URL, or a path, as it is compared: percent-decoded, in lower case, blanks as ``_``."""
    if "://" in url:
        try:
            path = urlsplit(url).path
        except ValueError:
            path = url.split("://", 1)[1].partition("/")[2]
    else:
        path = url.split("?", 1)[0]
    return re.sub(r"[ +]", "_", unquote(path).lower()).strip("/")


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Where a log and the capture cannot both be the whole truth."""

    field: str
    logged: str
    captured: str
    text: str
    """What it may mean, in one sentence."""


BYTES_ALLOWANCE: Final = 0.05
"""Share by which counts of bytes may differ: what is counted beside the media differs by protocol [MS-WMLOG
2.1.28]."""

SECONDS_ALLOWANCE: Final = 5.0
"""Seconds are rounded up, and a player buffers before it plays."""

PROTOCOLS: Final[Mapping[str, frozenset[str]]] = {
    "http": frozenset({"mmsh", "http", "push"}),
    "rtsp": frozenset({"rtsp"}),
    "rtspu": frozenset({"rtsp"}),
    "rtspt": frozenset({"rtsp"}),
    "mms": frozenset({"mmst", "mmsu"}),
    "mmst": frozenset({"mmst"}),
    "mmsu": frozenset({"mmsu"}),
    "asfm": frozenset({"msb"}),
}
"""Transports of sessions that a log's protocol may mean."""


COUNTS: Final = ("s_pkts_sent", "c_pkts_received", "sc_bytes", "c_bytes")
"""Columns whose sum over the entries of a session is held against it."""


def disagreements_of_all(
    entries: Sequence[Mapping[str, object]], session: SessionFacts
) -> list[tuple[int, Disagreement]]:
    """Hold all entries of a log that speak of one session against it.

    Returns
    -------
    list of (index, Disagreement)
        The entry that it is told of; of sums the last one.
    """
    if len(entries) == 1:
        return [(0, found) for found in disagreements(entries[0], session)]
    found = []
    for i, entry in enumerate(entries):
        rest = {k: v for k, v in entry.items() if k not in COUNTS}
        found += [(i, told) for told in disagreements(rest, session)]
    sums: dict[str, object] = {}
    for name in COUNTS:
        values = [v for v in (entry.get(name) for entry in entries) if isinstance(v, int)]
        if values:
            sums[name] = sum(values)
    for told in disagreements(sums, session):
        text = f"in {len(entries)} entries together, {told.text}"
        found.append((len(entries) - 1, replace(told, text=text)))
    return found


def disagreements(entry: Mapping[str, object], session: SessionFacts) -> list[Disagreement]:
    """Hold an entry's figures, by their columns, against a session that is matched with it."""
    found: list[Disagreement] = []
    received, missing = session.packets_received, session.packets_missing
    for column in ("s_pkts_sent", "c_pkts_received"):
        count = entry.get(column)
        if isinstance(count, int) and session.transport not in ("http", "carved"):
            found += _packets(column, count, received, missing)
    found += _bytes(entry, session)
    found += _delivery(entry, session)
    found += _duration(entry, session)
    protocol = str(entry.get("protocol") or "").lower()
    if session.transport not in PROTOCOLS.get(protocol, {session.transport}):
        text = "the log names another protocol than the captured one: another attempt of the same viewing?"
        found.append(Disagreement("protocol", protocol, session.transport, text))
    client = str(entry.get("c_ip") or "")
    if client not in NO_ADDRESS and client != session.client_ip:
        text = "the log names another client: a proxy or a translated address lies between"
        found.append(Disagreement("c-ip", client, session.client_ip, text))
    status = entry.get("c_status")
    if isinstance(status, int) and status >= 400 and received:
        text = "the log says that it failed, and media were captured"
        found.append(Disagreement("c-status", str(status), f"{received} packets", text))
    if isinstance(status, int) and status < 400 and session.outcome.startswith("failed"):
        text = "the log says that it went well, and the captured session failed"
        found.append(Disagreement("c-status", str(status), session.outcome, text))
    return found


def _packets(column: str, count: int, received: int, missing: int) -> list[Disagreement]:
    name = column.replace("_", "-")
    if count > received + missing:
        text = f"the log counts {count - received - missing} packets of which the capture knows nothing"
    elif count > received:
        text = f"{count - received} packets that the log counts are known to be missing from the capture"
    elif count < received and column == "s_pkts_sent":
        text = f"{received - count} packets more were captured than the log says were sent"
    else:
        return []
    return [Disagreement(name, str(count), f"{received} captured, {missing} known to be missing", text)]


def _bytes(entry: Mapping[str, object], session: SessionFacts) -> list[Disagreement]:
    found = []
    for column in ("sc_bytes", "c_bytes"):
        count = entry.get(column)
        if not isinstance(count, int) or count <= 0:
            continue
        more = count - session.media_bytes
        if abs(more) > BYTES_ALLOWANCE * max(count, session.media_bytes):
            text = f"{abs(more)} bytes {'more' if more > 0 else 'less'} than the captured media have"
            found.append(Disagreement(column.replace("_", "-"), str(count), str(session.media_bytes), text))
    return found


def _delivery(entry: Mapping[str, object], session: SessionFacts) -> list[Disagreement]:
    """A log that says that everything arrived, and a capture with holes."""
    lost, quality = entry.get("c_pkts_lost_client"), entry.get("c_quality")
    if not session.packets_missing or not (lost == 0 or (lost is None and quality == 100)):
        return []
    name = "c-pkts-lost-client" if lost == 0 else "c-quality"
    text = f"the log says that nothing was lost, and the capture misses {session.packets_missing} packets"
    if session.acked_unseen:
        text += f"; {session.acked_unseen} bytes were acknowledged and not captured: the capture lost them"
    elif session.acked_unseen == 0:
        text += "; nothing was acknowledged that was not captured"
    logged = "0" if lost == 0 else "100"
    return [Disagreement(name, logged, f"{session.packets_missing} packets missing", text)]


def _duration(entry: Mapping[str, object], session: SessionFacts) -> list[Disagreement]:
    """More was played, at the normal rate, than the session lasted and its buffer held."""
    played, rate = entry.get("x_duration"), entry.get("c_rate")
    seconds = (session.end_ts - session.start_ts) / 1e9
    if not isinstance(played, int | float) or rate not in (None, 1, 1.0) or session.outcome == "completed":
        return []
    if played <= seconds + SECONDS_ALLOWANCE:
        return []
    text = "the log has more played than the captured session lasted, which did not end with all of it sent"
    return [Disagreement("x-duration", f"{played:g} s", f"{seconds:.3f} s", text)]
