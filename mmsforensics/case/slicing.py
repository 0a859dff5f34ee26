"""The frames that a session rests on, written into a capture of their own.

Rules of this file:

* a slice holds every captured frame of the session's flows, both directions, from each one's first to its
  last, whether or not anything was recovered from it; they are found in the evidence again by addresses,
  ports and numbers of frames, without decoding a protocol;
* it is made only of evidence that is still what was analysed, and never lies over anything;
* the order is that of the case, and what a second tap gave again is left out, as the case left it out.
"""

from __future__ import annotations

import ipaddress
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

import mmsforensics
from mmsforensics.case.custody import append_entry
from mmsforensics.case.errors import CaseError
from mmsforensics.case.evidence_frames import CaptureFrames, EvidenceFrames, evidence_of
from mmsforensics.case.folder import CUSTODY, Case
from mmsforensics.case.intake import Intake, members
from mmsforensics.evidence import hash_file
from mmsforensics.evidence.pcapng_writer import Interface, PcapngWriter
from mmsforensics.evidence.sources import Source
from mmsforensics.packets import NO_TIME, Fragments, Numbering, PacketBatch, Status, unfold
from mmsforensics.packets.duplicates import Duplicates
from mmsforensics.packets.links import IPPROTO_TCP, IPPROTO_UDP
from mmsforensics.packets.merge import CaptureSet, in_order

PROTOCOLS: Final = {"tcp": IPPROTO_TCP, "udp": IPPROTO_UDP}

Frames = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FlowKey:
    """A flow, and where it begins and ends; both ends are alike."""

    protocol: str
    """tcp or udp."""
    a: str
    a_port: int
    b: str
    b_port: int
    first: tuple[str, int]
    """Capture and number in it of the first frame."""
    last: tuple[str, int]

    def rows(self, rows: NDArray[np.void]) -> NDArray[np.bool_]:
        """Which packets are of these addresses and ports, in either direction."""
        ours = (rows["status"] == Status.DECODED) & (rows["proto"] == PROTOCOLS[self.protocol])
        ours &= rows["version"] == ipaddress.ip_address(self.a).version
        a, b = (self.a, self.a_port), (self.b, self.b_port)
        there = _at(rows, "src", *a) & _at(rows, "dst", *b)
        back = _at(rows, "src", *b) & _at(rows, "dst", *a)
        return np.asarray(ours & (there | back))


def _at(rows: NDArray[np.void], end: str, address: str, port: int) -> NDArray[np.bool_]:
    number = int(ipaddress.ip_address(address))
    found = rows[f"{end}_port"] == port
    found &= rows[f"{end}_hi"] == np.uint64(number >> 64)
    found &= rows[f"{end}_lo"] == np.uint64(number & (2**64 - 1))
    return np.asarray(found)


@dataclass(frozen=True, slots=True)
class Slice:
    """What was written."""

    path: Path
    frames: int
    flows: int
    captures: tuple[str, ...]
    """From which frames were taken."""
    size: int
    sha256: str


def slice_session(case: Case, session_id: str, out: Path, *, evidence_folder: Path | None = None) -> Slice:
    """Write the frames that a session rests on as a pcapng file.

    Time stamps, link types and both lengths of each frame are kept; where it stands in the evidence is its
    comment. What was done is appended to the custody log.

    Parameters
    ----------
    case : Case
    session_id : str
    out : Path
        The file to make. It may not exist, nor lie in the case.
    evidence_folder : Path, optional
        Where the captures lie now, when they are no longer where they were.

    Raises
    ------
    CaseError
        There is no such session; `out` may not be written; the evidence is not found, came through a pipe, or
        is no longer what was analysed. There is no file then.
    """
    _check_place(case, out)
    flows = flows_of(case, session_id)
    with EvidenceFrames(case, evidence_folder) as frames:
        captures, numbers = find_frames(case, flows, frames)
        written = _write(case, session_id, out, captures, numbers, frames)
    done = Slice(out, len(numbers), len(flows), written, out.stat().st_size, hash_file(out))
    append_entry(
        case.path / CUSTODY,
        "slice",
        {
            "session": session_id,
            "output": str(out.absolute()),
            "frames": done.frames,
            "size": done.size,
            "sha256": done.sha256,
        },
    )
    return done


def _check_place(case: Case, out: Path) -> None:
    """Refuse a place where something lies, which evidence may be, and the case folder."""
    if out.exists() or out.is_symlink():
        raise CaseError(f"{out}: exists; nothing was written")
    if not out.absolute().parent.is_dir():
        raise CaseError(f"{out.absolute().parent}: no such folder to put the slice in")
    if out.resolve().is_relative_to(case.path.resolve()):
        raise CaseError(
            f"{out}: lies in the case, whose files are those of its manifest; nothing was written"
        )


def flows_of(case: Case, session_id: str) -> list[FlowKey]:
    """The flows that carried a session, from the table `flows`.

    Raises
    ------
    CaseError
        There is no such session, or the case is of a version that did not write down its flows.
    """
    if session_id not in case.table("sessions").column("session_id").to_pylist():
        raise CaseError(f"{case.path}: no session {session_id}; see: mmsforensics sessions {case.path}")
    try:
        rows = case.table("flows").to_pylist()
    except (KeyError, ValueError) as error:
        raise CaseError(f"{case.path}: has no table of flows; analyse the evidence again") from error
    found = [_flow(row) for row in rows if session_id in row["session_ids"]]
    if not found:
        raise CaseError(f"{case.path}: no flow carried {session_id}")
    return found


def _flow(row: dict[str, object]) -> FlowKey:
    return FlowKey(
        protocol=str(row["protocol"]),
        a=str(row["client_ip"]),
        a_port=int(str(row["client_port"])),
        b=str(row["server_ip"]),
        b_port=int(str(row["server_port"])),
        first=(str(row["first_capture_id"]), int(str(row["first_frame"]))),
        last=(str(row["last_capture_id"]), int(str(row["last_frame"]))),
    )


@dataclass(slots=True, eq=False)
class _Watched:
    """A flow that is looked for."""

    flow: FlowKey
    first: int | None = None
    """Number in the case of its first frame, once it was met."""
    last: int | None = None

    def meet(self, names: Sequence[str], captures: Frames, local: Frames, numbers: Frames) -> None:
        """See whether the flow begins or ends among frames."""
        if self.first is None:
            self.first = _find(self.flow.first, names, captures, local, numbers)
        if self.last is None:
            self.last = _find(self.flow.last, names, captures, local, numbers)


def _find(
    end: tuple[str, int], names: Sequence[str], captures: Frames, local: Frames, numbers: Frames
) -> int | None:
    at = np.flatnonzero((local == end[1]) & (captures == names.index(end[0])))
    return int(numbers[at[0]]) if len(at) else None


@dataclass(slots=True, eq=False)
class _Search:
    """Goes through the packets of a set of captures and keeps the numbers of frames that flows rest on."""

    names: Sequence[str]
    """Identifiers of the captures, by their numbers."""
    watched: list[_Watched]
    numbering: Numbering
    fragments: Fragments = field(default_factory=Fragments)
    found: list[Frames] = field(default_factory=list)

    def feed(self, batch: PacketBatch) -> None:
        """Take the next packets."""
        numbers = batch.rows["frame"].astype(np.int64)
        captures, local = self.numbering.locate(numbers)
        for watched in self.watched:
            watched.meet(self.names, captures, local, numbers)
        self._take(self.fragments.feed(unfold(batch)))

    def finish(self) -> None:
        """Take note that there are no more packets in this set."""
        last = self.fragments.finish()
        if last is not None:
            self._take(last)

    def _take(self, batch: PacketBatch) -> None:
        for watched in self.watched:
            if watched.first is None:
                continue
            numbers = batch.rows["frame"][watched.flow.rows(batch.rows)].astype(np.int64)
            numbers = numbers[numbers >= watched.first]
            joined = np.isin(numbers, np.fromiter(self.fragments.joined, dtype=np.int64))
            pieces = [self.fragments.members[n] for n in numbers[joined].tolist()]
            # The row of a packet put together stands where its last fragment does: the flow's last frame may
            # be said to be any of them.
            last = watched.last if watched.last is not None else np.iinfo(np.int64).max
            self.found.append(numbers[~joined & (numbers <= last)])
            self.found += [frames for frames in pieces if frames.min() <= last]


def find_frames(case: Case, flows: Sequence[FlowKey], frames: EvidenceFrames) -> tuple[Frames, Frames]:
    """Find the frames of flows, in the order of the case.

    Returns
    -------
    captures, frames : ndarray of int64
        Number of the capture, from 0 in the manifest's order, and number of the frame in it, from 1.

    Raises
    ------
    CaseError
        The evidence is not there any more, or is not what was analysed.
    """
    records = list(evidence_of(case))
    names = [str(record["capture_id"]) for record in records]
    sources = [Source(str(r["path"]), frames.file(str(r["capture_id"]))) for r in records]
    numbering = Numbering()
    duplicates = Duplicates() if len(sources) > 1 else None
    watched = [_Watched(flow) for flow in flows]
    found: list[Frames] = []
    with tempfile.TemporaryDirectory() as spool:
        intake = Intake(sources, Path(spool))
        waiting = deque(in_order(members(intake)))
        while waiting:
            search = _Search(names, watched, numbering, found=found)
            for batch in CaptureSet(waiting, numbering, duplicates):
                search.feed(batch)
            search.finish()
        for number, record in enumerate(records):
            if record["sha256"] not in (None, intake.facts(number).scan.sha256):
                raise CaseError(f"{record['path']}: is not what was analysed: its SHA-256 is another now")
    for item in watched:
        if item.first is None or item.last is None:
            name, frame = item.flow.first if item.first is None else item.flow.last
            raise CaseError(f"{case.path}: frame {frame} of {name} is not found again")
    return numbering.locate(np.unique(np.concatenate(found)))


def _write(
    case: Case, session_id: str, out: Path, captures: Frames, numbers: Frames, frames: EvidenceFrames
) -> tuple[str, ...]:
    """Write the slice; returns the identifiers of the captures it is made of."""
    records = list(evidence_of(case))
    opened = {n: frames.capture(str(records[n]["capture_id"])) for n in np.unique(captures).tolist()}
    link, ts = _columns(opened, captures, numbers)
    pairs = list(dict.fromkeys(zip(captures.tolist(), link.tolist(), strict=True)))
    interfaces = []
    for number, dlt in pairs:
        times = ts[(captures == number) & (link == dlt) & (ts != NO_TIME)]
        record = records[number]
        about = f"{record['path']}, SHA-256 {record['sha256'] or 'unknown'}"
        first = int(times.min()) if len(times) else 0
        interfaces.append(Interface(dlt, opened[number].capture_id, about, first))
    try:
        with out.open("xb") as file:
            writer = PcapngWriter(
                file,
                interfaces,
                written_by=f"mmsforensics {mmsforensics.__version__}",
                comment=f"frames of session {session_id}; each one's comment is its place in the evidence",
            )
            for number, dlt, frame in zip(captures.tolist(), link.tolist(), numbers.tolist(), strict=True):
                capture = opened[number]
                place = capture.places[frame - 1]
                writer.packet(
                    pairs.index((number, dlt)),
                    int(place["ts"]),
                    capture.frame(frame).tobytes(),
                    int(place["wirelen"]),
                    f"{capture.capture_id} frame {frame}",
                )
    except FileExistsError as error:
        raise CaseError(f"{out}: exists; nothing was written") from error
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    return tuple(capture.capture_id for capture in opened.values())


def _columns(
    opened: dict[int, CaptureFrames], captures: Frames, numbers: Frames
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Link type and time stamp of each frame."""
    link, ts = np.empty(len(numbers), np.int64), np.empty(len(numbers), np.int64)
    for number, capture in opened.items():
        mine = captures == number
        places = capture.places[numbers[mine] - 1]
        link[mine], ts[mine] = places["link"], places["ts"]
    return link, ts


__all__ = ["FlowKey", "Slice", "find_frames", "flows_of", "slice_session"]
