"""Flows and anomalies, written into the case.

Rules of this file:

* which session and which end an anomaly belongs to is known when its flow is through: until then the rows
  wait in a spool file;
* bytes that were sent twice, differently, are files of the case, both versions: evidence of what cannot have
  been sent by one sender.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsforensics.analytics import community_id
from mmsforensics.analytics.arrays import array_of
from mmsforensics.case.media_place import MediaPlace
from mmsforensics.case.spool import Spool
from mmsforensics.packets import known_time
from mmsforensics.streams import ANOMALY, Conflict, Flow, FlowSummary, Kind, SideSummary
from mmsforensics.streams.flow import Endpoint
from mmsforensics.streams.flow_watch import DETAILS, SEVERITY

MAX_EXPORTED: Final = 10_000
"""Conflicts whose bytes are written to files; of more, the hashes stand in the table."""

KINDS: Final = [kind.name.lower() for kind in Kind]
SEVERITIES: Final = [SEVERITY.get(kind, "info") for kind in Kind]

_SPOOLED = np.dtype([("uid", "i8"), ("anomaly", ANOMALY)])


@dataclass(frozen=True, slots=True)
class _Named:
    """A flow by the name it has in the case."""

    flow_id: str
    session_id: str | None
    """The session it carried; None if it carried none or several."""
    client: int
    """Direction in which the client sends."""


class Traffic:
    """The tables `flows` and `anomalies` of captures that belong together."""

    def __init__(self, place: MediaPlace) -> None:
        self._root = place.root
        self._store = place.store
        self._book = place.book
        self._spool = Spool(place.spool / "anomalies", _SPOOLED, place.spools)
        self._count = 0
        self._conflicts: list[dict[str, object]] = []
        self._named: dict[int, _Named] = {}
        self._flows_of: Counter[str] = Counter()

    def anomalies(self, flow: Flow, rows: NDArray[np.void]) -> None:
        """Take anomalies of a flow."""
        spooled = np.empty(len(rows), dtype=_SPOOLED)
        spooled["uid"], spooled["anomaly"] = flow.uid, rows
        self._spool.append(spooled)

    def conflict(self, flow: Flow, side: int, conflict: Conflict) -> None:
        """Take bytes that were sent twice, differently, and export both versions."""
        row = np.zeros(1, dtype=ANOMALY)
        row["frame"], row["ts"], row["direction"] = conflict.frame, conflict.ts, side
        row["kind"], row["offset"], row["size"] = Kind.OVERLAP_CONFLICT, conflict.offset, conflict.length
        row["a"] = len(self._conflicts)
        self.anomalies(flow, row)
        self._conflicts.append(self._exported(conflict))

    def _exported(self, conflict: Conflict) -> dict[str, object]:
        number = len(self._conflicts) + 1
        kept_capture, kept_frame = self._book.one(conflict.kept_frame)
        set_aside_capture, set_aside_frame = self._book.one(conflict.frame)
        details: dict[str, object] = {
            "bytes_that_differ": conflict.length,
            "from_stream_offset": conflict.start,
            "kept_capture_id": kept_capture,
            "kept_frame": kept_frame,
            "kept_sha256": hashlib.sha256(conflict.kept).hexdigest(),
            "set_aside_sha256": hashlib.sha256(conflict.other).hexdigest(),
        }
        if number > MAX_EXPORTED:
            return details
        for word, data, capture, frame in (
            ("kept", conflict.kept, kept_capture, kept_frame),
            ("set_aside", conflict.other, set_aside_capture, set_aside_frame),
        ):
            name = f"conflicts/{set_aside_capture}-{number:05d}-{word}-{capture}-frame-{frame}.bin"
            (self._root / name).parent.mkdir(exist_ok=True)
            (self._root / name).write_bytes(data)
            details[f"{word}_path"] = name
        return details

    def flow(
        self, summary: FlowSummary, session_ids: Sequence[str], protocol: str, client: Endpoint | None
    ) -> None:
        """Take a finished flow."""
        flow = summary.flow
        first_capture, first_frame = self._book.one(summary.first_frame)
        last_capture, last_frame = self._book.one(summary.last_frame)
        self._flows_of[first_capture] += 1
        flow_id = f"{first_capture}-f{self._flows_of[first_capture]:04d}"
        client_side = 1 if (client or summary.opener) == flow.b else 0
        ends = (flow.a, flow.b) if client_side == 0 else (flow.b, flow.a)
        session_id = session_ids[0] if len(session_ids) == 1 else None
        self._named[flow.uid] = _Named(flow_id, session_id, client_side)
        self._store.append_row(
            "flows",
            {
                "flow_id": flow_id,
                "session_ids": list(session_ids),
                "community_id": community_id(
                    flow.proto, flow.a.address, flow.a.port, flow.b.address, flow.b.port
                ),
                "protocol": "tcp" if flow.proto == 6 else "udp",
                "recognised_as": protocol,
                "client_ip": str(ipaddress.ip_address(ends[0].address)),
                "client_port": ends[0].port,
                "server_ip": str(ipaddress.ip_address(ends[1].address)),
                "server_port": ends[1].port,
                "first_ts": known_time(summary.first_ts),
                "last_ts": known_time(summary.last_ts),
                "first_capture_id": first_capture,
                "first_frame": first_frame,
                "last_capture_id": last_capture,
                "last_frame": last_frame,
                "rtt_ns": summary.rtt,
                "began": summary.began,
                "ended": summary.ended,
                "vlans": [str(v) for v in summary.vlans],
                **_side_columns("client", summary.sides[client_side]),
                **_side_columns("server", summary.sides[1 - client_side]),
            },
        )

    def finish(self) -> None:
        """Write the anomalies; every flow is known now."""
        for rows in self._spool.batches():
            self._write(rows["uid"], rows["anomaly"])
        self._spool.remove()

    def _write(self, uids: NDArray[np.int64], rows: NDArray[np.void]) -> None:
        named = [self._named[uid] for uid in uids.tolist()]
        capture_ids, frames = self._book.columns(rows["frame"])
        kinds = rows["kind"].tolist()
        elsewhere = self._elsewhere(rows)
        self._store.append(
            "anomalies",
            {
                "session_id": [n.session_id for n in named],
                "flow_id": [n.flow_id for n in named],
                "direction": [
                    "client" if side == n.client else "server"
                    for n, side in zip(named, rows["direction"].tolist(), strict=True)
                ],
                "capture_id": capture_ids,
                "frame": frames,
                "ts": rows["ts"],
                "stream_offset": array_of(rows["offset"], pa.uint64(), rows["offset"] < 0),
                "kind": [KINDS[k] for k in kinds],
                "severity": ["info" if n in elsewhere else SEVERITIES[k] for n, k in enumerate(kinds)],
                "size": rows["size"].astype(np.uint64),
                "details": [
                    self._details(Kind(k), a, b, elsewhere.get(n))
                    for n, (k, a, b) in enumerate(
                        zip(kinds, rows["a"].tolist(), rows["b"].tolist(), strict=True)
                    )
                ],
            },
        )

    def _elsewhere(self, rows: NDArray[np.void]) -> dict[int, str]:
        """Rows whose packet came another way than one of another capture: taps at two places see just that.

        Returns
        -------
        dict of int to str
            The other capture, by the index of the row.
        """
        found = {}
        for n in np.flatnonzero(rows["previous"]).tolist():
            before = self._book.one(int(rows["previous"][n]))[0]
            if before != self._book.one(int(rows["frame"][n]))[0]:
                found[n] = before
        return found

    def _details(self, kind: Kind, a: int, b: int, before: str | None) -> str:
        if kind is Kind.OVERLAP_CONFLICT:
            return json.dumps(self._conflicts[a], sort_keys=True)
        details: dict[str, object] = dict(zip(DETAILS.get(kind, ()), (a, b), strict=False))
        if kind is Kind.GAP:
            details = _gap_details(a)
        elif kind is Kind.MAC_CHANGE:
            details = {
                name: (number % 2**48).to_bytes(6, "big").hex(":")
                for name, number in (("before", a), ("after", b))
            }
            details["address"] = "destination" if a >> 48 else "source"
        if before is not None:
            details["before_capture_id"] = before
        return json.dumps(details, sort_keys=True)


def _gap_details(acknowledged: int) -> dict[str, object]:
    """Where the bytes of a hole were lost, by what the receiver acknowledged; -1 if that was not captured."""
    if acknowledged < 0:
        return {"lost": "unknown"}
    return {"acknowledged": acknowledged, "lost": "in the capture" if acknowledged else "on the way"}


def _side_columns(who: str, side: SideSummary) -> dict[str, object]:
    return {
        f"{who}_packets": side.packets,
        f"{who}_bytes": side.bytes,
        f"{who}_payload_bytes": side.payload,
        f"{who}_retransmissions": side.retransmitted,
        f"{who}_retransmitted_bytes": side.retransmitted_bytes,
        f"{who}_out_of_order": side.out_of_order,
        f"{who}_gaps": side.gaps,
        f"{who}_gap_bytes": side.gap_bytes,
        f"{who}_acked_bytes": side.acked,
        f"{who}_acked_unseen_bytes": side.acked_unseen,
        f"{who}_seen_unacked_bytes": side.seen_unacked,
        f"{who}_mss": side.mss,
        f"{who}_window_scale": side.window_scale,
        f"{who}_ttl_least": side.ttl_least,
        f"{who}_ttl_most": side.ttl_most,
        f"{who}_mac": side.mac,
        f"{who}_checksums_bad": side.checksums_bad,
        f"{who}_checksums_offloaded": side.checksums_offloaded,
    }
