"""Downloads over HTTP that came in several responses: ranges, resumed downloads, several connections at once.

Rules of this file:

* responses belong to one file when client, server, URL and what is known of ETag, Last-Modified and size
  agree; a response that says otherwise (as when If-Range did not match) begins another medium;
* a response that begins at the first byte and is whole is a file of its own, as ever; one that ends early may
  be resumed, and one with holes be filled by ranges, until the capture ends or the file is asked for from its
  beginning again;
* a range from the first byte of a file that is whole, or was left for a minute, begins another viewing; any
  other range of a file that is whole is a repetition;
* a range is kept when its file is known, begins with it, or is called one of Windows Media by media type or
  extension. Such a file is a session only when its bytes show it to be one: its header, or packets of one
  size;
* bytes that no response announced are not told as lost in the capture: nobody is known to have asked for
  them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmsforensics.protocols import Body, BodyEnd, Response
from mmsforensics.protocols.byteranges import (
    ContentRange,
    MultipartRanges,
    at_offset,
    boundary,
    content_range,
)
from mmsforensics.protocols.detect import ASF_HEADER_GUID
from mmsforensics.protocols.messages import At
from mmsforensics.sessions.assembly import Assembly, Ranges, add_range, length_within
from mmsforensics.sessions.download import Download, MiddleOfDownload
from mmsforensics.sessions.inflating import CODINGS, Inflated
from mmsforensics.sessions.verdict import Reason

if TYPE_CHECKING:
    from mmsforensics.sessions.story import Story

PARTIAL_CONTENT = 206

MOST_HELD = 64
"""Files whose bytes may wait for missing ones, on disk: each costs a handle. Of more than these, as a lossy
capture of a busy link leaves them, the oldest are handed on with their holes."""

EVERYTHING = 1 << 62
"""Where a response ends that holds all of a file."""

LEFT_NS = 60_000_000_000
"""A file asked for from its beginning this long after its last byte is another viewing; a resumed download
goes on somewhere inside, and may do so at any time."""

_MEDIA_TYPE = re.compile(
    r"(?:video|audio|application)/(?:x-ms-(?:asf|wm[av]?|asx)|vnd\.ms-asf)\b", re.IGNORECASE
)
_FROM_START = re.compile(r"bytes\s*=\s*0+\s*-", re.IGNORECASE)
_EXTENSION = re.compile(r"\.(?:asf|wmv|wma|wm|dvr-ms)(?:[?#]|$)", re.IGNORECASE)

Claim = Callable[["Story | None"], "Story"]
"""Makes an exchange part of a session, a new one for None; returns it."""

Key = tuple[bytes, bytes, int, str]
"""Client, server, its port, URL."""


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells one version of a file from another."""

    etag: str
    modified: str
    total: int | None

    def agrees(self, other: Validators) -> bool:
        """Whether nothing that both say differs."""
        return all(
            mine in ("", None) or theirs in ("", None) or mine == theirs
            for mine, theirs in (
                (self.etag, other.etag),
                (self.modified, other.modified),
                (self.total, other.total),
            )
        )

    def joined(self, other: Validators) -> Validators:
        """What both together say."""
        total = self.total if self.total is not None else other.total
        return Validators(self.etag or other.etag, self.modified or other.modified, total)


class FetchedFile:
    """One file, in one or several responses."""

    def __init__(self, name: str, validators: Validators, *, decoded: bool = False) -> None:
        self.name = name
        self._decoded = decoded
        self.validators = validators
        self.story: Story | None = None
        self.held: Callable[[FetchedFile], None] | None = None
        """Told when bytes of it wait for others."""
        self.asker: Story | None = None
        """The session that asked for it first, before its bytes showed what it is."""
        self.over = False
        self.responses = 0
        self.coming = 0
        """Responses that have not ended."""
        self._claims: list[Claim] = []
        self._assembly = Assembly()
        self._download: Download | None = None
        self._all_sent = False  # whether one response held it all, seen or not
        self._jumped = False  # whether holes were taken for good
        self._commanded = False  # whether its header's script commands were told
        self._announced: Ranges = []
        self._sent: Ranges = []  # of responses that were whole by their framing
        self._reach = 0
        self._last: At | None = None

    def claim(self, claim: Claim, asker: Story | None = None) -> None:
        """Take another response; `asker` is the session that its request is part of already."""
        self.asker = self.asker or asker
        self.responses += 1
        self.coming += 1
        if self.story is not None:
            claim(self.story)
            self.story.resumed()
        else:
            self._claims.append(claim)

    def left(self, ts: int) -> bool:
        """Whether a request for its beginning is one of another viewing: it is whole or was left alone.

        A file whose beginning never came is not asked for again.
        """
        alone = self._last is not None and ts - self._last.ts > LEFT_NS
        return self.over or self._all_sent or (alone and self.begun)

    def announce(self, begin: int, end: int) -> None:
        """Take note of the stretch that a response announces."""
        add_range(self._announced, begin, end)

    def add(self, body: Body, *, jump: bool = False) -> None:
        """Take a stretch of the file."""
        if self.over:
            return
        self._last = body.at
        jump = self._jumped = self._jumped or jump
        self._reach = max(self._reach, body.offset + len(body.data))
        if self.story is None and body.offset == 0 and body.data[:16].tobytes() == ASF_HEADER_GUID:
            self._begin()
        for part in self._assembly.add(body, jump=jump):
            self._hand(part)
        if self._assembly.waits and self.held is not None:
            self.held(self)

    def _begin(self) -> Story:
        """It is a file of Windows Media: its responses are a session."""
        story = None
        for claim in self._claims:
            story = claim(story)
        self._claims.clear()
        assert story is not None
        self.story = story
        return story

    def _hand(self, body: Body) -> None:
        story = self.story
        if story is None:
            return
        if self._download is None:
            self._download = Download(
                story.recorder, story.number, self.name, self._announced, decoded=self._decoded
            )
        download = self._download
        packets, size = download.packets, download.bytes
        download.body(body)
        if download.header is not None and not self._commanded:
            self._commanded = True
            story.commanded(download.header, body.at)
        story.received += download.packets - packets
        story.packets += download.packets - packets
        story.media_bytes += download.bytes - size
        story.saw(body.at)
        story.advance("Media")

    def sent(self, begin: int, end: BodyEnd, announced: int | None) -> None:
        """Take the end of a response: where it began, and up to where it announced bytes."""
        self._reach = max(self._reach, begin + end.length)
        if end.ended:
            add_range(self._sent, begin, announced if announced is not None else begin + end.length)
        total = self.validators.total
        whole = total is not None and self._assembly.next >= total and not self._assembly.waits
        alone = announced is None and end.ended and self.responses == 1
        self._all_sent |= alone
        if alone and (end.complete or total is None or self._jumped):
            self._close(end)  # one response that holds it all
        elif whole and self._download is not None and not self._download.holes:
            self.finish()

    def settle(self) -> None:
        """Wait no longer for what is missing: what is there is handed on, with holes."""
        self._jumped = True
        for part in self._assembly.finish():
            self._hand(part)
        if not self.coming:
            self.finish()

    @property
    def waits(self) -> bool:
        """Whether bytes of it wait for others."""
        return not self.over and self._assembly.waits

    @property
    def begun(self) -> bool:
        """Whether its first bytes have come."""
        return self._assembly.next > 0

    def abandon(self) -> None:
        """Another version has taken its place; what comes in on other connections still belongs to it."""
        if not self.coming:
            self.finish()

    def finish(self) -> None:
        """Finish the file: nothing more of it comes."""
        if self.over:
            return
        if self._assembly.next == 0 and self._assembly.waits:
            self._packets_alone()
            return
        for part in self._assembly.finish():
            self._hand(part)
        at, download = self._last, self._download
        if at is None or download is None:
            self.over = True
            return
        total = self.validators.total
        ended = total is not None and length_within(self._sent, 0, total) == total
        whole = total is not None and self._assembly.next >= total and not download.holes
        length = total if ended and total is not None else self._reach
        self._close(BodyEnd(at=at, number=0, length=length, complete=whole, ended=ended or whole))

    def _close(self, end: BodyEnd) -> None:
        self.over = True
        download, story = self._download, self.story
        self._download = None
        if download is None or story is None:
            return
        download.end(end, tuple(self._reasons()))
        story.missing += download.missing
        if end.ended:
            story.advance("EndOfStream")
        if self._assembly.differing:
            details = {"repeated": self._assembly.repeated, "differing": self._assembly.differing}
            story.tell("RangesDiffer", end.at, details)

    def _reasons(self) -> Iterator[Reason]:
        total = self.validators.total
        if total is None or not self._announced:
            return
        unasked = total - length_within(self._announced, 0, total)
        if unasked:
            text = f"{unasked} bytes of the file are in no range that was seen to be sent"
            yield Reason("not asked for", text, unasked)

    def _packets_alone(self) -> None:
        """A file whose first bytes never came: its packets, where their fixed size shows them."""
        middle = MiddleOfDownload()
        for part in self._assembly.finish():
            block = middle.body(part)
            if block is not None:
                story = self.story or self._begin()
                story.media(block)
        self.over = True


class Fetch:
    """What one response holds of a file."""

    __slots__ = ("_announced", "_inflated", "_multipart", "_parts", "_start", "file")

    def __init__(
        self,
        file: FetchedFile,
        where: ContentRange | None,
        multipart: MultipartRanges | None = None,
        inflated: Inflated | None = None,
    ) -> None:
        self._inflated = inflated
        self.file = file
        self._start = where.start if where is not None else 0
        self._announced = where.end if where is not None else None
        self._multipart = multipart
        self._parts: Ranges = []
        if where is not None:
            file.announce(where.start, where.end)
        elif multipart is None:
            file.announce(0, EVERYTHING)

    def body(self, body: Body) -> None:
        """Take a stretch of the response's body."""
        if self._inflated is not None:
            for decoded in self._inflated.feed(body):
                self.file.add(decoded)
            return
        if self._multipart is not None:
            for part in self._multipart.feed(body):
                add_range(self._parts, part.where.start, part.where.end)
                self.file.validators = self.file.validators.joined(Validators("", "", part.where.total))
                self.file.announce(part.where.start, part.where.end)
                self.file.add(
                    Body(at=body.at, number=0, offset=part.offset, data=part.data, pieces=part.pieces)
                )
            return
        offset = self._start + body.offset
        pieces = body.pieces
        if self._start:
            pieces = at_offset(body.data, pieces, body.offset, offset)
        # What a response that holds all lacks, a range may bring; of no known size, nobody asks for one.
        jump = self._announced is None and self.file.validators.total is None
        self.file.add(Body(at=body.at, number=0, offset=offset, data=body.data, pieces=pieces), jump=jump)

    def end(self, end: BodyEnd) -> None:
        """Take the end of the response's body."""
        self.file.coming -= 1
        if self._inflated is not None:
            whole = self._inflated.whole and end.complete
            end = BodyEnd(
                at=end.at, number=end.number, length=self._inflated.length, complete=whole, ended=whole
            )
        if self._multipart is None:
            self.file.sent(self._start, end, self._announced)
            return
        for begin, behind in self._parts:
            part = BodyEnd(at=end.at, number=0, length=0, complete=end.complete, ended=end.ended)
            self.file.sent(begin, part, behind)


class Fetches:
    """The files that come in several responses, over all connections."""

    def __init__(self) -> None:
        self._open: dict[Key, FetchedFile] = {}
        self._all: list[FetchedFile] = []
        self._holding: list[FetchedFile] = []  # whose bytes wait for others

    def _held(self, file: FetchedFile) -> None:
        """Take note that bytes of a file wait; of too many such files the oldest waits no longer."""
        if file not in self._holding:
            self._holding = [f for f in self._holding if f.waits]
            self._holding.append(file)
        while len(self._holding) > MOST_HELD:
            oldest = next((f for f in self._holding if f.begun or not f.coming), None)
            if oldest is None:
                return
            self._holding.remove(oldest)
            oldest.settle()

    def begin(
        self,
        key: Key,
        name: str,
        response: Response | None,
        first: Body,
        claim: Claim,
        *,
        resumes: bool,
        asker: Story | None = None,
    ) -> Fetch | None:
        """Look at the first bytes of a response's body; None where they are no file's of Windows Media.

        `resumes` says that the request asked for a range, `asker` which session it is part of.
        """
        if response is not None and response.status == PARTIAL_CONTENT:
            return self._range(key, name, response, first, claim, asker)
        coding = response.header("content-encoding").lower().strip() if response is not None else ""
        if coding in CODINGS and first.offset == 0:
            return self._coded(coding, name, first, claim)
        if first.offset or first.data[:16].tobytes() != ASF_HEADER_GUID:
            return None
        file = FetchedFile(name, _validators(response, None))
        before = self._open.get(key)
        if before is not None and not before.begun and before.validators.agrees(file.validators):
            before.validators = before.validators.joined(file.validators)
            before.claim(claim)  # parts from farther on were asked for on other connections
            return Fetch(before, None)
        if before is not None and resumes:  # If-Range did not match
            file.story = before.story
            before.abandon()
        self._keep(key, file)
        file.claim(claim)
        return Fetch(file, None)

    def story(self, key: Key, asked: str, ts: int) -> Story | None:
        """The session that a request goes on with, by its header Range; None if with none known."""
        known = self._open.get(key)
        if not asked or known is None or (_FROM_START.match(asked) and known.left(ts)):
            return None
        return known.story or known.asker

    def _coded(self, coding: str, name: str, first: Body, claim: Claim) -> Fetch | None:
        """A response that must be decoded; it is never resumed, since ranges are those of the coded bytes."""
        begin = next(Inflated(coding).feed(first), None)
        if begin is None or begin.data[:16].tobytes() != ASF_HEADER_GUID:
            return None
        file = FetchedFile(name, Validators("", "", None), decoded=True)
        self._all.append(file)
        file.claim(claim)
        return Fetch(file, None, inflated=Inflated(coding))

    def _range(
        self, key: Key, name: str, response: Response, first: Body, claim: Claim, asker: Story | None
    ) -> Fetch | None:
        mark = boundary(response.header("content-type"))
        where = content_range(response.header("content-range"))
        if mark is None and where is None:
            return None
        validators = _validators(response, where)
        known = self._open.get(key)
        again = where is not None and where.start == 0 and known is not None and known.left(first.at.ts)
        if known is None or again or not known.validators.agrees(validators):
            begins = where is not None and where.start == 0 and first.offset == 0
            begins = begins and first.data[:16].tobytes() == ASF_HEADER_GUID
            named = bool(_MEDIA_TYPE.match(response.header("content-type")) or _EXTENSION.search(key[3]))
            if not begins and not named:
                return None
            file = FetchedFile(name, validators)
            if known is not None:
                file.story = None if again else known.story
                known.abandon()
            self._keep(key, file)
            known = file
        known.validators = known.validators.joined(validators)
        known.claim(claim, asker)
        return Fetch(known, None if mark else where, MultipartRanges(mark) if mark else None)

    def _keep(self, key: Key, file: FetchedFile) -> None:
        file.held = self._held
        self._open[key] = file
        self._all = [kept for kept in self._all if not kept.over]
        self._all.append(file)

    def finish(self) -> None:
        """Finish what is open: the capture ends."""
        for file in self._all:
            file.finish()
        self._all.clear()
        self._open.clear()


def _validators(response: Response | None, where: ContentRange | None) -> Validators:
    if response is None:
        return Validators("", "", None)
    total = where.total if where is not None else None
    length = response.header("content-length").split(",")[0].strip()
    if response.status != PARTIAL_CONTENT and length.isascii() and length.isdigit() and len(length) < 19:
        total = int(length)
    return Validators(response.header("etag"), response.header("last-modified"), total)
