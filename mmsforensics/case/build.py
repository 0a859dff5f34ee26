"""Captures in; tables, media and the manifest of a case out.

What is wrong with one capture costs that capture what lies behind the damage, and nothing else.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq

from mmsforensics.case.manifest import write_manifest
from mmsforensics.case.recorder import CaseRecorder
from mmsforensics.case.store import TableStore
from mmsforensics.evidence import Evidence
from mmsforensics.packets import CaptureScan, link_type_name
from mmsforensics.sessions import SessionRoom
from mmsforensics.streams import FlowTable


def build(work: Path, scans: Iterable[tuple[Evidence, CaptureScan]]) -> list[dict[str, object]]:
    """Analyse captures into the folder `work`.

    Returns
    -------
    list of dict
        For each capture its row of the manifest.
    """
    spool = work / "spool"
    spool.mkdir()
    store = TableStore(work)
    captures = []
    with ThreadPoolExecutor(1, thread_name_prefix="media-writer") as hasher:
        try:
            for number, (evidence, scan) in enumerate(scans, start=1):
                captures.append(_capture(work, spool, store, evidence, scan, number, hasher))
            tables = store.close()
        except BaseException:
            store.abort()
            raise
    shutil.rmtree(spool)
    write_manifest(work, captures, tables, _media_hashes(work))
    return captures


def _media_hashes(work: Path) -> dict[str, str]:
    """Hashes of the recovered files, taken as they were written."""
    table = pq.read_table(work / "tables" / "media", columns=["path", "sha256"])
    return {row["path"]: row["sha256"] for row in table.to_pylist()}


def _capture(
    work: Path,
    spool: Path,
    store: TableStore,
    evidence: Evidence,
    scan: CaptureScan,
    number: int,
    hasher: ThreadPoolExecutor,
) -> dict[str, object]:
    """Analyse one capture; returns its row of the manifest."""
    capture_id = f"c{number:03d}"
    recorder = CaseRecorder(work, spool, store, capture_id, hasher)
    flows = FlowTable()
    room = SessionRoom(recorder)
    for batch in scan:
        room.feed(flows.feed(batch))
    room.finish()
    recorder.flush()
    return _capture_row(store, evidence, scan, flows, room, capture_id)


def _capture_row(
    store: TableStore,
    evidence: Evidence,
    scan: CaptureScan,
    flows: FlowTable,
    room: SessionRoom,
    capture_id: str,
) -> dict[str, object]:
    summary = scan.summary
    problems = [p.message for p in summary.problems]
    store.append_row(
        "captures",
        {
            "capture_id": capture_id,
            "path": str(evidence.path),
            "sha256": summary.sha256,
            "size": evidence.size,
            "format": evidence.format,
            "wrapping": list(evidence.wrapping),
            "link_types": [link_type_name(d) for d in summary.link_types],
            "packets": summary.packets,
            "first_ts": summary.first_ts,
            "last_ts": summary.last_ts,
            "truncated": summary.truncated,
            "problems": problems,
            "notes": list(summary.notes),
            "frames_fragment": summary.fragments,
            "frames_malformed": summary.malformed,
            "flows": flows.flows_seen,
            "unclaimed_datagrams": room.unclaimed_datagrams,
            "undecided_dropped": flows.pool_dropped,
        },
    )
    return {
        "capture_id": capture_id,
        "path": str(evidence.path),
        "size": evidence.size,
        "sha256": summary.sha256,
        "problems": problems,
    }
