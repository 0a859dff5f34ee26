"""Station files given beside captures: rows of the table `stations`, and the headers that multicasts need."""

from __future__ import annotations

from collections.abc import Iterable

from mmsforensics.case.frames import FrameBook
from mmsforensics.case.intake import GivenDocument
from mmsforensics.case.store import TableStore, encodable
from mmsforensics.protocols.nsc import parse
from mmsforensics.sessions import Station, station_row


def given_stations(documents: Iterable[GivenDocument], store: TableStore, book: FrameBook) -> list[Station]:
    """Read the station files among documents."""
    stations = []
    for document in documents:
        if document.format != "nsc":
            continue
        file = parse(document.data)
        name, capture_id = encodable(document.name), book.capture_ids[document.number]
        row = station_row(file, url=name, whole=True)
        told = {k: _told(v) for k, v in row.items()}
        store.append_row("stations", {**told, "capture_id": capture_id, "frame": None})
        stations.append(Station(file, f"{capture_id} {name}"))
    return stations


def _told(value: object) -> object:
    if isinstance(value, list):
        return [encodable(item) for item in value]
    return encodable(value) if isinstance(value, str) else value
