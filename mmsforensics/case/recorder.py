"""What sessions tell, written into the case."""

from __future__ import annotations

import ipaddress
import json
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mmsforensics.analytics import community_id
from mmsforensics.analytics.log_matching import SessionFacts
from mmsforensics.case.borrowing import Lending
from mmsforensics.case.client_logs import ClientLogs
from mmsforensics.case.copies import Copies
from mmsforensics.case.delivery import Delivery
from mmsforensics.case.media_files import MediumFile
from mmsforensics.case.media_place import MediaPlace, MediumNames
from mmsforensics.case.names import safe_media_name
from mmsforensics.case.store import encodable
from mmsforensics.case.surroundings import Surroundings
from mmsforensics.case.traffic import Traffic
from mmsforensics.packets import known_time
from mmsforensics.sessions import Event, MediumKind, MediumWriter, SessionSummary, summarise
from mmsforensics.sessions.redirections import Redirection
from mmsforensics.sessions.secrets import MASK, masked_details, masked_text
from mmsforensics.streams import Conflict, Flow, FlowSummary
from mmsforensics.streams.flow import Endpoint


class CaseRecorder:
    """A `Recorder` for the sessions of captures that belong together."""

    def __init__(
        self,
        place: MediaPlace,
        lending: Lending,
        delivery: Delivery,
        copies: Copies | None,
        surroundings: Surroundings,
        logs: ClientLogs,
        *,
        show_secrets: bool = False,
    ) -> None:
        self._surroundings = surroundings
        self._show_secrets = show_secrets
        self._logs = logs
        self._lending = lending
        self._delivery = delivery
        self._copies = copies
        self._place = place
        self._store = place.store
        self._book = place.book
        self._ids: dict[int, str] = {}
        self._sessions_of: Counter[str] = Counter()
        self._media: dict[int, int] = {}
        self._events: list[tuple[str, Event]] = []
        self._traffic = Traffic(self._place)

    def begin(self, session: int, first_frame: int) -> None:
        """Name a session, by the capture in which its flow began."""
        capture_id, _ = self._book.one(first_frame)
        self._sessions_of[capture_id] += 1
        self._ids[session] = f"{capture_id}-s{self._sessions_of[capture_id]:04d}"

    def event(self, session: int, event: Event) -> None:
        """Record an event of session number `session`."""
        self._events.append((self._ids[session], event))
        if len(self._events) >= 4096:
            self.flush()

    def anomalies(self, flow: Flow, rows: NDArray[np.void]) -> None:
        """Record what is odd about a flow's traffic."""
        self._traffic.anomalies(flow, rows)

    def conflict(self, flow: Flow, side: int, conflict: Conflict) -> None:
        """Record bytes that were sent twice, differently."""
        self._traffic.conflict(flow, side, conflict)

    def flow(
        self,
        summary: FlowSummary,
        sessions: Sequence[int],
        protocol: str,
        client: Endpoint | None,
        receiver: Endpoint | None,
    ) -> None:
        """Record a finished flow."""
        session_ids = [self._ids[n] for n in sessions]
        self._traffic.flow(summary, session_ids, protocol, client)
        self._delivery.flow(summary, session_ids, receiver)
        self._surroundings.flow(summary, session_ids)

    def finish(self) -> None:
        """Write what waits for the end: every session and flow is known now."""
        self.flush()
        self._traffic.finish()

    def flush(self) -> None:
        """Hand the events on to the table."""
        events, self._events = self._events, []
        if not events:
            return
        capture_ids, frames = self._book.columns(np.array([e.frame for _, e in events], dtype=np.int64))
        told = [self._told(e) for _, e in events]
        self._store.append(
            "events",
            {
                "session_id": [s for s, _ in events],
                "ts": [known_time(e.ts) for _, e in events],
                "capture_id": capture_ids,
                "frame": frames,
                "direction": [e.direction for _, e in events],
                "event": [e.event for _, e in events],
                "summary": [encodable(summary) for summary, _ in told],
                "details": [json.dumps(details, sort_keys=True) for _, details in told],
            },
        )

    def _told(self, event: Event) -> tuple[str, Mapping[str, object]]:
        """Summary and details, with frames as their captures count them."""
        kept, details = event.details.get("kept_frame"), dict(event.details)
        if isinstance(kept, int):
            capture_id, frame = self._book.one(kept)
            details |= {"kept_frame": frame, "kept_capture_id": capture_id}
        if not self._show_secrets:
            details = masked_details(event.event, details)
        return (event.summary if details == event.details else summarise(event.event, details)), details

    def open_medium(
        self, session: int, header: bytes, name: str, kind: MediumKind = "faithful", source: str = ""
    ) -> MediumWriter:
        """Begin a medium of a session."""
        number = self._media.get(session, 0) + 1
        self._media[session] = number
        names = MediumNames(self._ids[session], number, *safe_media_name(masked_text(name)))
        keep = self._copies.keep if self._copies is not None else None
        return MediumFile(self._place, names, header, kind, self._lending, source=source, keep=keep)

    def row(self, table: str, session: int | None, frame: int, values: Mapping[str, object]) -> None:
        """Write a row of a table that rests on one frame, of a session or of none."""
        capture_id, local = self._book.one(frame)
        told = {k: encodable(v) if isinstance(v, str) else v for k, v in values.items()}
        if table == "credentials" and told.get("secret") is not None and not self._show_secrets:
            told["secret"] = MASK
        session_id = self._ids[session] if session is not None else None
        if table == "client_log":  # waits for the session that it speaks of
            self._logs.add(session_id, capture_id, local, told)
            return
        self._store.append_row(
            table, {**told, "session_id": session_id, "capture_id": capture_id, "frame": local}
        )

    def redirection(self, redirection: Redirection) -> None:
        """Record that somebody was sent elsewhere."""
        carrier = self._ids[redirection.session] if redirection.session is not None else None
        self._surroundings.redirection(carrier, redirection)

    def unclaimed(self, frames: NDArray[np.integer]) -> None:
        """Count datagrams that belong to no session."""
        self._book.count("unclaimed_datagrams", frames)

    def session(self, summary: SessionSummary) -> None:
        """Record a finished session."""
        if self._copies is not None:
            self._copies.server(self._ids[summary.number], summary.server_ip)
        capture_id, frame = self._book.one(summary.first_frame)
        self._logs.sessions.append(_facts(self._ids[summary.number], summary))
        self._lending.session(self._ids[summary.number], summary)
        self._surroundings.session(self._ids[summary.number], summary)
        self._store.append_row(
            "sessions",
            {
                "session_id": self._ids[summary.number],
                "community_id": community_id(
                    summary.proto,
                    summary.client_ip,
                    summary.client_port,
                    summary.server_ip,
                    summary.server_port,
                ),
                "transport": summary.transport,
                "client_ip": str(ipaddress.ip_address(summary.client_ip)),
                "client_port": summary.client_port,
                "server_ip": str(ipaddress.ip_address(summary.server_ip)),
                "server_port": summary.server_port,
                "url": encodable(summary.url),
                "client_version": encodable(summary.client_version),
                "server_version": encodable(summary.server_version),
                "player_guid": encodable(summary.player_guid),
                "start_ts": known_time(summary.start_ts),
                "end_ts": known_time(summary.end_ts),
                "outcome": encodable(summary.outcome),
                "media_bytes": summary.media_bytes,
                "packets_received": summary.packets_received,
                "packets_missing": summary.packets_missing,
                "gap_bytes": summary.gap_bytes,
                "acked_unseen_bytes": summary.acked_unseen,
                "seen_unacked_bytes": summary.seen_unacked,
                "resend_requests": summary.resend_requests,
                "packets_resent": summary.packets_resent,
                "capture_id": capture_id,
                "frame": frame,
            },
        )


def _facts(session_id: str, summary: SessionSummary) -> SessionFacts:
    """What logs are held against."""
    return SessionFacts(
        session_id=session_id,
        transport=summary.transport,
        client_ip=str(ipaddress.ip_address(summary.client_ip)),
        server_ip=str(ipaddress.ip_address(summary.server_ip)),
        url=summary.url,
        client_version=summary.client_version,
        player_guid=summary.player_guid,
        start_ts=summary.start_ts,
        end_ts=summary.end_ts,
        outcome=summary.outcome,
        media_bytes=summary.media_bytes,
        packets_received=summary.packets_received,
        packets_missing=summary.packets_missing,
        acked_unseen=summary.acked_unseen,
    )
