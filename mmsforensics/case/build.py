"""Captures in; tables, media and the manifest of a case out.

What is wrong with one capture costs that capture what is damaged, and nothing else.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from mmsforensics.case.borrowing import Lending
from mmsforensics.case.client_logs import ClientLogs
from mmsforensics.case.closings import Closings
from mmsforensics.case.copies import Copies
from mmsforensics.case.delivery import Delivery, Word
from mmsforensics.case.errors import CaseError
from mmsforensics.case.frames import FrameBook
from mmsforensics.case.intake import CaptureFacts, Intake, members
from mmsforensics.case.manifest import write_manifest
from mmsforensics.case.media_place import MediaPlace
from mmsforensics.case.media_rows import MediaRows
from mmsforensics.case.merging import merge_copies
from mmsforensics.case.recorder import CaseRecorder
from mmsforensics.case.server_logs import write_server_logs
from mmsforensics.case.stations import given_stations
from mmsforensics.case.store import TableStore, encodable
from mmsforensics.case.surroundings import Surroundings
from mmsforensics.case.world import World
from mmsforensics.case.writing import Spools, Writers
from mmsforensics.evidence import Problem, hash_file
from mmsforensics.evidence.problem import UNKNOWN_OFFSET
from mmsforensics.packets import link_type_name
from mmsforensics.packets.duplicates import ClockDifference, Duplicates
from mmsforensics.packets.merge import CaptureSet, in_order
from mmsforensics.streams import Policy


def build(
    work: Path,
    intake: Intake,
    overlap: str = "first",
    *,
    merge: bool = False,
    show_secrets: bool = False,
) -> list[dict[str, object]]:
    """Analyse captures into the folder `work`.

    `overlap` is the name of a `streams.Policy`; with `merge`, partial copies of the same content are joined;
    with `show_secrets`, passwords are told.

    Returns
    -------
    list of dict
        For each capture its row of the manifest.
    """
    try:
        policy = Policy[overlap.upper()]
    except KeyError:
        names = ", ".join(p.name.lower() for p in Policy)
        raise CaseError(f"no overlap policy {overlap}; there are {names}") from None
    spool = work / "spool"
    spool.mkdir(exist_ok=True)
    store = TableStore(work, show_secrets=show_secrets)
    count = len(intake.sources)
    book = FrameBook([f"c{n + 1:03d}" for n in range(count)])
    duplicates = Duplicates() if count > 1 else None
    copies = Copies() if merge else None
    with Writers() as writers, Spools() as spools, Closings() as closings:
        try:
            documents = intake.documents()
            stations = given_stations(documents, store, book)
            surroundings = Surroundings(store, book)
            surroundings.given(documents)
            waiting = deque(in_order(members(intake)))
            anomalies: dict[int, list[str]] = {}
            rows = MediaRows(store, book)
            place = MediaPlace(
                work, spool, store, book, writers, spools, closings, rows, surroundings.command
            )
            lending, delivery, logs = Lending(), Delivery(), ClientLogs()
            while waiting:
                recorder = CaseRecorder(
                    place, lending, delivery, copies, surroundings, logs, show_secrets=show_secrets
                )
                world = World(recorder, book.stitched, book.count, policy, stations)
                for batch in CaptureSet(waiting, book.numbering, duplicates):
                    world.feed(batch)
                world.finish()
                closings.settle()
                recorder.finish()
                for frame, text in world.anomalies:
                    capture, local = book.numbering.locate_one(frame)
                    anomalies.setdefault(capture, []).append(f"frame {local}: {text}")
            logs.write(store)
            write_server_logs(intake, store, book.capture_ids, logs.sessions, show_secrets=show_secrets)
            if copies is not None:
                merge_copies(copies, place)
                closings.settle()
            surroundings.finish()
            words = delivery.words(lending.media)
            lending.finish()
            place.rows.flush(partial(_client_word, words))
            captures = [
                _capture_row(store, book, intake.facts(n), n, duplicates, anomalies.get(n, []))
                for n in range(count)
            ]
            tables = store.close()
        except BaseException:
            store.abort()
            raise
    shutil.rmtree(spool)
    media = _media_hashes(work)
    parameters = {"merge": merge, "overlap_policy": overlap, "show_secrets": show_secrets}
    write_manifest(work, captures, _containers(intake), tables, media, parameters)
    return captures


def _client_word(words: Mapping[str, Word], media_id: str) -> dict[str, int | None]:
    """What a client said of a medium; of a playable file, what it said of the one that it was made from."""
    stem, _, kind = media_id.rpartition("-")
    word = words.get(media_id)
    if kind == "playable":
        word = words.get(f"{stem}-faithful") or words.get(f"{stem}-packets")
    if word is None:
        return {}
    return {"acked_unseen_bytes": word.acked_unseen, "seen_unacked_bytes": word.seen_unacked}


def _containers(intake: Intake) -> list[dict[str, object]]:
    """The archives in which captures lay."""
    names = dict.fromkeys(s.container for s in intake.sources if s.container is not None)
    return [
        {"path": name, "size": Path(name).stat().st_size, "sha256": hash_file(name)}
        for name in names
        if Path(name).is_file()
    ]


def _media_hashes(work: Path) -> dict[str, str]:
    """Hashes of the recovered files, taken as they were written."""
    table = pq.ParquetFile(work / "tables" / "media" / "part-0.parquet").read(columns=["path", "sha256"])
    return {row["path"]: row["sha256"] for row in table.to_pylist()}


def _capture_row(
    store: TableStore,
    book: FrameBook,
    facts: CaptureFacts,
    number: int,
    duplicates: Duplicates | None,
    anomalies: list[str],
) -> dict[str, object]:
    scan, source, capture_id = facts.scan, facts.source, book.capture_ids[number]
    problems = [encodable(p.message) for p in facts.problems]
    _problem_rows(store, capture_id, facts.problems)
    name = encodable(source.name)
    container = encodable(source.container) if source.container is not None else None
    clocks = duplicates.clocks(number) if duplicates is not None else []
    clock = clocks[0] if clocks else None
    notes = [encodable(note) for note in (*scan.notes, *anomalies, *(_clock_note(book, c) for c in clocks))]
    store.append_row(
        "captures",
        {
            "capture_id": capture_id,
            "path": name,
            "container": container,
            "sha256": scan.sha256,
            "size": facts.size,
            "format": facts.format,
            "wrapping": list(facts.wrapping),
            "link_types": [link_type_name(d) for d in scan.link_types],
            "packets": scan.packets,
            "first_ts": scan.first_ts,
            "last_ts": scan.last_ts,
            "truncated": scan.truncated or bool(source.problems),
            "problems": problems,
            "notes": notes,
            "frames_fragment": scan.fragments,
            "packets_incomplete": book.counted("packets_incomplete", number),
            "frames_malformed": scan.malformed,
            "frames_duplicate": duplicates.count(number) if duplicates is not None else 0,
            "clock_offset_ns": clock.median if clock else None,
            "clock_reference": book.capture_ids[clock.other] if clock else None,
            "flows": book.counted("flows", number),
            "unclaimed_datagrams": book.counted("unclaimed_datagrams", number),
            "undecided_dropped": book.counted("undecided_dropped", number),
        },
    )
    return {
        "capture_id": capture_id,
        "path": name,
        "container": container,
        "streamed": source.streamed,
        "size": facts.size,
        "sha256": scan.sha256,
        "problems": problems,
    }


def _problem_rows(store: TableStore, capture_id: str, problems: Iterable[Problem]) -> None:
    for problem in problems:
        start, stop = problem.passed_over or (None, None)
        store.append_row(
            "problems",
            {
                "capture_id": capture_id,
                "offset": problem.offset if problem.offset != UNKNOWN_OFFSET else None,
                "frame": problem.frame,
                "expected": encodable(problem.expected),
                "found": encodable(problem.found),
                "skipped_offset": start,
                "skipped": stop - start if start is not None and stop is not None else None,
                "message": encodable(problem.message),
            },
        )


def _clock_note(book: FrameBook, clock: ClockDifference) -> str:
    return (
        f"its clock is {clock.median / 1e9:+.9f} s from that of {book.capture_ids[clock.other]}, by "
        f"{clock.frames} frames that both hold (from {clock.least / 1e9:+.9f} to {clock.most / 1e9:+.9f} s)"
    )
