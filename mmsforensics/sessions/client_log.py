"""What players report of their playing, as rows of `client_log`, beside what had been captured by then.

Rules of this file:

* a log is taken for the session whose messages carry it; one on a connection of its own (a web server that
  collects logs) is told without a session or with one that has no media, and is matched when all sessions are
  known;
* a player counts from when it last began to stream [MS-WMLOG 2.1.15]: what was captured is counted from the
  log before, if that counts packets too; a log that is sent again (to another server) is held against the
  same stretch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from mmsforensics.evidence.log_fields import field_named, typed
from mmsforensics.packets import NO_TIME, known_time
from mmsforensics.protocols import MmsMessage, Request
from mmsforensics.protocols.client_log import (
    LOG_LINE_PREFIX,
    ClientLog,
    from_client_log,
    parse_document,
    parse_line,
)
from mmsforensics.protocols.messages import At
from mmsforensics.sessions.documents import Document
from mmsforensics.sessions.mms_session import ip_text
from mmsforensics.sessions.model import Recorder
from mmsforensics.sessions.story import Story
from mmsforensics.streams.flow import Endpoint

COUNTING = ("legacy", "streaming")
"""Kinds of logs that count what was received."""

CARRIERS: Mapping[str, str] = {
    "application/x-wms-logstats": "x-wms-logstats",
    "application/x-wms-sendevent": "x-wms-sendevent",
    "application/x-wms-logconnectstats": "x-wms-logconnectstats",
    "application/x-wms-logplaystats": "x-wms-logplaystats",
}
"""Content types of requests with logs [MS-WMSP 2.2.1.2, MS-RTSP 2.2.7.6, 2.2.7.7, 2.2.7.11]."""

FINGERPRINT = ("date", "time", "x-duration", "c-bytes", "c-pkts-received")
"""Fields by which a log that is sent again is known."""

_LOG_LINE = re.compile(r"log-line\s*=\s*(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Told:
    """A log that waits for the end, when all media are known."""

    log: ClientLog
    frame: int
    ts: int
    story: Story | None
    values: dict[str, object]


class ClientLogReader:
    """Finds the logs in what is said, and tells them."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._told: list[_Told] = []

    def message(self, message: MmsMessage, story: Story) -> None:
        """Take a Logging message [MS-MMSP 2.2.4.20]."""
        if message.name != "Logging":
            return
        inner = message.fields.get("clientLog")
        log = from_client_log(inner if isinstance(inner, Mapping) else message.fields)
        self._tell(log, message.at, "mms logging", story, story.client, story.server)

    def request(self, request: Request, story: Story | None, client: Endpoint, server: Endpoint) -> None:
        """Take a request that may have a log in a Pragma header [MS-WMSP 2.2.1.4.12]."""
        for name, value in request.headers:
            found = _LOG_LINE.search(value) if name.lower() == "pragma" else None
            if found is not None:
                log = parse_line(found[1].strip().strip('"'))
                self._tell(log, request.at, "log-line", story, client, server, target=request.target)

    def document(self, document: Document) -> None:
        """Take the body of a request that may be a log."""
        if document.response is not None:
            return
        log = parse_document(document.data)
        if log is None:
            return
        request = document.request
        kind = request.header("content-type").split(";")[0].strip().lower() if request else ""
        carrier = CARRIERS.get(kind, "http body")
        if document.data.lstrip()[: len(LOG_LINE_PREFIX)].lower() == LOG_LINE_PREFIX.lower():
            carrier = "web server"
        self._tell(
            log,
            document.at,
            carrier,
            document.story,
            document.client,
            document.server,
            target=request.target if request else "",
            whole=document.whole,
        )

    def _tell(
        self,
        log: ClientLog,
        at: At,
        carrier: str,
        story: Story | None,
        client: Endpoint,
        server: Endpoint,
        *,
        target: str = "",
        whole: bool = True,
    ) -> None:
        values = columns_of(log)
        logged = logged_ts(log.texts)
        values |= {
            "ts": known_time(at.ts),
            "carrier": carrier,
            "url": _content(log.texts),
            "posted_to": target or None,
            "client_ip": ip_text(client.address),
            "server_ip": ip_text(server.address),
            "form": log.form,
            "kind": log.kind,
            "whole": whole,
            "logged_ts": logged,
            "clock_difference_s": (logged - at.ts) / 1e9 if logged is not None and at.ts > NO_TIME else None,
            "more": json.dumps(log.more, sort_keys=True) if log.more else None,
            "problems": list(log.problems),
        }
        if story is not None and log.kind in COUNTING:
            story.count.mark(at.frame)
        self._told.append(_Told(log, at.frame, at.ts, story, values))

    def finish(self) -> None:
        """Tell the logs; all media are known."""
        stretches: dict[int, tuple[tuple[str | None, ...], int]] = {}  # by session: the last one that counts
        for told in self._told:
            story = told.story
            if story is not None and told.log.kind in COUNTING and story.count.total:
                fingerprint = tuple(told.log.texts.get(name) for name in FINGERPRINT)
                last = stretches.get(story.number)
                if last is None or last[0] != fingerprint:
                    stretches[story.number] = (fingerprint, told.frame)
                stretch = story.count.until(stretches[story.number][1])
                first = story.first_media_ts
                told.values["captured_packets"], told.values["captured_bytes"] = stretch.packets, stretch.size
                if first is not None and min(first, told.ts) > NO_TIME:
                    told.values["captured_ms"] = (told.ts - first) // 1_000_000
            self._recorder.row(
                "client_log", story.number if story is not None else None, told.frame, told.values
            )
        self._told.clear()


def columns_of(log: ClientLog) -> dict[str, object]:
    """The fields of a log by their columns, each of its type."""
    values: dict[str, object] = {}
    for name, text in log.texts.items():
        field = field_named(name)
        if field is not None:
            values[field.column] = typed(field, text)[0]
    return values


def logged_ts(texts: Mapping[str, str]) -> int | None:
    """When the player says that it made the log, by its own clock, in UTC [MS-WMLOG 2.1.36, 2.1.49]; ns."""
    try:
        moment = datetime.strptime(f"{texts['date']} {texts['time']}", "%Y-%m-%d %H:%M:%S")
    except (KeyError, ValueError):
        return None
    seconds = int(moment.replace(tzinfo=UTC).timestamp())
    return seconds * 1_000_000_000 if -(1 << 33) < seconds < 1 << 33 else None


def _content(texts: Mapping[str, str]) -> str | None:
    """What was played: the URL used, or the one first asked for."""
    for name in ("cs-uri-stem", "cs-url"):
        if texts.get(name, "-") not in ("", "-"):
            return texts[name]
    return None
