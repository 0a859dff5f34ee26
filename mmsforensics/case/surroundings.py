"""What surrounds the sessions of a case: the tables `redirectors` and `viewings`.

Both are written when every session is known, over all captures of the case.
"""

from __future__ import annotations

import ipaddress
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from mmsforensics.asf import ScriptCommand
from mmsforensics.case.frames import FrameBook
from mmsforensics.case.intake import GivenDocument
from mmsforensics.case.redirecting import Seen, join, rows, telling
from mmsforensics.case.store import TableStore, encodable
from mmsforensics.case.viewings import ATTEMPT_PORTS, Refusal, Viewing, Watched, attempts, group
from mmsforensics.packets import known_time
from mmsforensics.protocols.messages import At
from mmsforensics.protocols.redirectors import Entry, read_redirector
from mmsforensics.sessions import SessionSummary
from mmsforensics.sessions.redirections import Redirection, params_of, script_kind, told_to_go
from mmsforensics.streams import FlowSummary
from mmsforensics.streams.flow import Endpoint

TCP: Final = 6

MOST_COMMANDS: Final = 1 << 16
"""Script commands of streams that are followed; all stand in the table `script_commands`."""


class Surroundings:
    """Takes what surrounds the sessions as it is found."""

    def __init__(self, store: TableStore, book: FrameBook) -> None:
        self._store = store
        self._book = book
        self._sessions: list[Watched] = []
        self._seen: list[Seen] = []
        self._refusals: list[Refusal] = []
        self._commands: list[tuple[str, int, int, ScriptCommand]] = []

    def given(self, documents: Iterable[GivenDocument]) -> None:
        """Take redirectors given as evidence."""
        for document in documents:
            found = read_redirector(document.data) if document.format in ("redirector", "nsc") else None
            if found is not None:
                capture_id = self._book.capture_ids[document.number]
                self._seen.append(Seen(capture_id, None, None, found, None))

    def redirection(self, carrier: str | None, redirection: Redirection) -> None:
        """Take a redirector that was seen, and the identifier of the session whose exchange it was."""
        capture_id, frame = self._book.one(redirection.frame)
        self._seen.append(Seen(capture_id, frame, carrier, redirection.redirector, redirection))

    def command(self, session_id: str, frame: int, ts: int, command: ScriptCommand) -> None:
        """Take a script command of a stream; its session is not finished yet."""
        if script_kind(command.type) and command.value and len(self._commands) < MOST_COMMANDS:
            self._commands.append((session_id, frame, ts, command))

    def _follow(self) -> None:
        """Take script commands of streams for what they are, now that their sessions are known."""
        sessions = {s.session_id: s for s in self._sessions}
        for session_id, frame, ts, command in self._commands:
            session = sessions[session_id]
            kind, ends = script_kind(command.type), (session.client_ip, session.server_ip)
            at = At(direction="server", offset=0, frame=frame, ts=ts)
            self.redirection(session_id, told_to_go(0, at, kind, command.value, session.url, *ends))

    def session(self, session_id: str, summary: SessionSummary) -> None:
        """Take a finished session."""
        capture_id, frame = self._book.one(summary.first_frame)
        self._sessions.append(
            Watched(
                session_id=session_id,
                transport=summary.transport,
                client_ip=summary.client_ip,
                server_ip=summary.server_ip,
                server_port=summary.server_port,
                url=summary.url,
                start_ts=summary.start_ts,
                end_ts=summary.end_ts,
                outcome=summary.outcome,
                media_bytes=summary.media_bytes,
                packets_received=summary.packets_received,
                packets_missing=summary.packets_missing,
                capture_id=capture_id,
                frame=frame,
            )
        )

    def flow(self, summary: FlowSummary, session_ids: Sequence[str]) -> None:
        """Take a finished flow: it may be an attempt that was refused."""
        opener = summary.opener
        if summary.flow.proto != TCP or session_ids or opener is None:
            return
        server = summary.flow.b if opener == summary.flow.a else summary.flow.a
        if server.port not in ATTEMPT_PORTS or any(side.payload for side in summary.sides):
            return
        capture_id, frame = self._book.one(summary.first_frame)
        self._refusals.append(
            Refusal(
                client_ip=opener.address,
                server_ip=server.address,
                port=server.port,
                ts=summary.first_ts,
                reason=_reason(summary, server),
                capture_id=capture_id,
                frame=frame,
            )
        )

    def finish(self) -> None:
        """Write both tables."""
        self._follow()
        entry_of = join(self._seen, self._sessions)
        for item in telling(self._seen):
            for entry, session, why in rows(item):
                self._redirector_row(item, entry, session, why)
        viewings = group(self._sessions, self._refusals, entry_of)
        counts: Counter[str] = Counter()
        for viewing in viewings:
            first = viewing.sessions[0]
            counts[first.capture_id] += 1
            origin = next(
                (entry_of[s.session_id] for s in viewing.sessions if s.session_id in entry_of), None
            )
            self._viewing_row(
                f"{first.capture_id}-v{counts[first.capture_id]:04d}",
                viewing,
                self._seen[origin[0]] if origin is not None else None,
            )

    def _redirector_row(
        self, item: Seen, entry: Entry | None, session: Watched | None, why: str | None
    ) -> None:
        seen = item.redirector
        row: dict[str, object] = {
            "session_id": session.session_id if session is not None else None,
            "capture_id": item.capture_id,
            "frame": item.frame,
            "kind": seen.kind,
            "title": encodable(seen.title),
            "author": encodable(seen.author),
            "joined_by": why,
            "carried_by": item.carrier,
            "whole": item.seen.whole if item.seen is not None else not seen.cut,
        }
        if item.seen is not None:
            row |= {
                "ts": known_time(item.seen.ts),
                "client_ip": str(ipaddress.ip_address(item.seen.client_ip)),
                "server_ip": str(ipaddress.ip_address(item.seen.server_ip)),
                "url": encodable(item.seen.url),
            }
        if entry is not None:
            row |= {
                "entry": entry.number,
                "alternative": entry.alternative,
                "names": entry.kind,
                "href": encodable(entry.href),
                "target": encodable(entry.target),
                "entry_title": encodable(entry.title),
                "entry_author": encodable(entry.author),
                "start_ms": entry.start_ms,
                "duration_ms": entry.duration_ms,
                "params": json.dumps(dict(params_of(entry)), sort_keys=True),
            }
        self._store.append_row("redirectors", row)

    def _viewing_row(self, viewing_id: str, viewing: Viewing, origin: Seen | None) -> None:
        winner, first = viewing.winner, viewing.sessions[0]
        host, port, path = (winner or first).key
        tried = attempts(viewing)
        self._store.append_row(
            "viewings",
            {
                "viewing_id": viewing_id,
                "session_ids": [s.session_id for s in viewing.sessions],
                "content": encodable(f"{host}{f':{port}' if port else ''}{path}") if host else None,
                "client_ip": str(ipaddress.ip_address(first.client_ip)),
                "first_ts": known_time(viewing.first_ts),
                "last_ts": known_time(viewing.last_ts),
                "attempts": json.dumps(tried, sort_keys=True),
                "transports": [str(a["transport"]) for a in tried],
                "failures": [
                    f"{a['transport']} {a['server_ip']} port {a['server_port']}: {a['outcome']}"
                    for a in tried
                    if not a["played"]
                ],
                "transport": winner.transport if winner is not None else None,
                "session_id": winner.session_id if winner is not None else None,
                "outcome": encodable(viewing.sessions[-1].outcome),
                "media_bytes": sum(s.media_bytes for s in viewing.sessions),
                "packets_received": sum(s.packets_received for s in viewing.sessions),
                "packets_missing": sum(s.packets_missing for s in viewing.sessions),
                "redirector_url": encodable(origin.seen.url) if origin is not None and origin.seen else None,
                "redirector_capture_id": origin.capture_id if origin is not None else None,
                "redirector_frame": origin.frame if origin is not None else None,
                "capture_id": first.capture_id,
                "frame": first.frame,
            },
        )


def _reason(summary: FlowSummary, server: Endpoint) -> str:
    """Why nothing came of a connection."""
    answers = summary.sides[0 if server == summary.flow.a else 1].packets
    if not answers:
        return "no answer"
    if summary.ended == "reset":
        return "refused" if summary.began != "handshake" else "reset before anything was said"
    return "nothing was said"
