"""The table `client_log`: what players report, written when all sessions are known.

Rules of this file:

* a log keeps the session that carried it when that has media; another is matched (`analytics.log_matching`)
  with the session that it speaks of;
* the completeness of the capture is the share of the packets that the player counts (received at the first
  attempt, restored, resent [MS-WMLOG 2.1.21]) that the capture holds of the same stretch; 1 at most. Without
  counts of packets, of bytes. It is null, with a word why, where the log counts nothing, no session is known,
  or the capture holds much more than the log counts: they then speak of different stretches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mmsforensics.analytics.log_matching import Disagreement, SessionFacts, Sessions, disagreements, entry_of
from mmsforensics.case.store import TableStore

MORE_SHARE: Final = 1.05
MORE_PACKETS: Final = 16
"""What a capture may hold beyond the count of a log, as a share and in packets: packets that were on their
way when the player stopped. Beyond both they speak of different stretches."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    session_id: str | None
    capture_id: str
    frame: int
    values: dict[str, object]


class ClientLogs:
    """The logs of a case, until its end."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self.sessions: list[SessionFacts] = []

    def add(self, session_id: str | None, capture_id: str, frame: int, values: Mapping[str, object]) -> None:
        """Take a log."""
        self._waiting.append(_Waiting(session_id, capture_id, frame, dict(values)))

    def write(self, store: TableStore) -> None:
        """Write the table."""
        known = {s.session_id: s for s in self.sessions}
        with_media = Sessions(s for s in self.sessions if s.media_bytes)
        for row in self._waiting:
            session, told = _matched(row, known, with_media)
            told |= _completeness({**row.values, **told}, session)
            session_id = session.session_id if session is not None else row.session_id
            place = {"session_id": session_id, "capture_id": row.capture_id, "frame": row.frame}
            store.append_row("client_log", {**row.values, **told, **place})
            if session is not None:
                for found in disagreements(_comparable({**row.values, **told}), session):
                    store.append_row("log_disagreements", {**place, "log": "client", **columns(found)})
        self._waiting.clear()


def columns(found: Disagreement) -> dict[str, object]:
    """A disagreement by its columns."""
    return {"field": found.field, "logged": found.logged, "captured": found.captured, "text": found.text}


def _matched(
    row: _Waiting, known: Mapping[str, SessionFacts], sessions: Sessions
) -> tuple[SessionFacts | None, dict[str, object]]:
    carrier = known.get(row.session_id or "")
    if carrier is not None and carrier.media_bytes:
        return carrier, {"match": "carrier", "match_reasons": ["its messages carry the log"]}
    values = row.values
    sender, addressed = values.get("client_ip"), values.get("server_ip")
    match = sessions.match(entry_of(values, client=sender, server=addressed, ts=values.get("ts")))
    session = match.session
    if session is None:
        return None, {"match": match.quality, "match_reasons": list(match.reasons)}
    return session, {
        "match": match.quality,
        "match_reasons": list(match.reasons),
        "captured_packets": session.packets_received,
        "captured_bytes": session.media_bytes,
    }


def _completeness(values: Mapping[str, object], session: SessionFacts | None) -> dict[str, object]:
    if session is None:
        return {"completeness_note": "no session with media is known for it"}
    missing = {"captured_packets_missing": session.packets_missing}
    counts = [values.get(c) for c in ("c_pkts_received", "c_pkts_recovered_ecc", "c_pkts_recovered_resent")]
    if isinstance(counts[0], int):
        basis, unit = "packets", sum(c for c in counts if isinstance(c, int))
    elif isinstance(values.get("c_bytes"), int) and values.get("kind") != "rendering":
        basis, unit = "bytes", int(str(values["c_bytes"]))
    else:
        return {**missing, "completeness_note": "the log counts nothing that was received"}
    held = values.get(f"captured_{basis}")
    if not isinstance(held, int):
        return {**missing, "completeness_note": "what was captured of the same stretch is not known"}
    if unit == 0:
        return {**missing, "completeness_note": "the log counts nothing that was received"}
    slack = max(MORE_SHARE * unit, unit + (MORE_PACKETS if basis == "packets" else 0))
    if held > slack:
        note = (
            f"the capture holds {held - unit} {basis} more than the log counts: it speaks of another stretch"
        )
        return {**missing, "completeness_note": note}
    return {**missing, "completeness": min(held / unit, 1.0), "completeness_basis": basis}


def _comparable(values: Mapping[str, object]) -> dict[str, object]:
    """What of a player's log is held against the whole session: counts of a stretch of it are not."""
    counts = ("c_pkts_received", "c_bytes", "s_pkts_sent", "sc_bytes")
    whole = values.get("completeness") is not None
    return {k: v for k, v in values.items() if k not in counts or whole}
