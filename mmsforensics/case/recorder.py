"""What the sessions of one capture tell, written into the case."""

from __future__ import annotations

import ipaddress
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mmsforensics.analytics import community_id
from mmsforensics.case.media_files import MediumFile, MediumNames, append_packets
from mmsforensics.case.names import safe_media_name
from mmsforensics.case.store import TableStore
from mmsforensics.sessions import Event, MediumBlock, MediumWriter, SessionSummary


class CaseRecorder:
    """A `Recorder` for the sessions of one capture."""

    def __init__(
        self, root: Path, spool: Path, store: TableStore, capture_id: str, hasher: ThreadPoolExecutor
    ) -> None:
        self._root = root
        self._spool = spool
        self._store = store
        self._capture_id = capture_id
        self._hasher = hasher
        self._media: dict[int, int] = {}
        self.sessions: list[SessionSummary] = []
        self.media = 0
        self._events: list[tuple[str, Event]] = []

    def session_id(self, number: int) -> str:
        """Identifier of a session in the case."""
        return f"{self._capture_id}-s{number:04d}"

    def event(self, session: int, event: Event) -> None:
        """Record an event of session number `session`."""
        self._events.append((self.session_id(session), event))
        if len(self._events) >= 4096:
            self.flush()

    def flush(self) -> None:
        """Hand the events on to the table."""
        events, self._events = self._events, []
        if not events:
            return
        self._store.append(
            "events",
            {
                "session_id": [s for s, _ in events],
                "ts": [_time(e.ts) for _, e in events],
                "capture_id": [self._capture_id] * len(events),
                "frame": [e.frame for _, e in events],
                "direction": [e.direction for _, e in events],
                "event": [e.event for _, e in events],
                "summary": [_text(e.summary) for _, e in events],
                "details": [json.dumps(e.details, sort_keys=True) for _, e in events],
            },
        )

    def open_medium(self, session: int, header: bytes, name: str) -> MediumWriter:
        """Begin a medium of a session."""
        number = self._media.get(session, 0) + 1
        self._media[session] = number
        self.media += 1
        names = MediumNames(self.session_id(session), self._capture_id, number, *safe_media_name(name))
        return MediumFile(self._root, self._spool, self._store, names, header, self._hasher)

    def stray_packets(self, session: int, block: MediumBlock) -> None:
        """Record media packets for which no header is known."""
        append_packets(self._store, block.packets, self.session_id(session), self._capture_id, None)

    def session(self, summary: SessionSummary) -> None:
        """Record a finished session."""
        self.sessions.append(summary)
        self._store.append_row(
            "sessions",
            {
                "session_id": self.session_id(summary.number),
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
                "url": _text(summary.url),
                "client_version": _text(summary.client_version),
                "server_version": _text(summary.server_version),
                "player_guid": _text(summary.player_guid),
                "start_ts": _time(summary.start_ts),
                "end_ts": _time(summary.end_ts),
                "outcome": _text(summary.outcome),
                "media_bytes": summary.media_bytes,
                "packets_received": summary.packets_received,
                "packets_missing": summary.packets_missing,
                "gap_bytes": summary.gap_bytes,
                "capture_id": self._capture_id,
                "frame": summary.first_frame,
            },
        )


def _time(ts: int) -> int | None:
    """A time stamp, or none for a frame that had none."""
    return ts if ts > -(1 << 63) else None


def _text(value: str) -> str:
    """Text that UTF-8 can hold."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")
