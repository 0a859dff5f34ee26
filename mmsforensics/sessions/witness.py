"""What is said beside the media, on whichever connection: logs of players, and who authenticated.

It hears every message of TCP connections after the connection's reader, which by then knows the session it
belongs to.
"""

from __future__ import annotations

from typing import Protocol as Interface

from mmsforensics.protocols import Message, MmsMessage, Request, Response
from mmsforensics.sessions.client_log import ClientLogReader
from mmsforensics.sessions.credentials import Credentials
from mmsforensics.sessions.documents import Document
from mmsforensics.sessions.http_session import HttpSessions
from mmsforensics.sessions.model import Recorder
from mmsforensics.sessions.story import Story
from mmsforensics.streams.flow import Endpoint


class Spoken(Interface):
    """Who reads a connection."""

    stories: list[Story]
    """Sessions that it carries."""


class Ends(Interface):
    """A connection."""

    @property
    def client(self) -> Endpoint:
        """The end that opened it."""

    @property
    def server(self) -> Endpoint:
        """The other end."""


class Witness:
    """Hears what travels beside media."""

    def __init__(self, recorder: Recorder) -> None:
        self._logs = ClientLogReader(recorder)
        self._credentials = Credentials(recorder)

    def hear(self, uid: int, message: Message, reader: Spoken, ends: Ends) -> None:
        """Take a message of the connection `uid`."""
        match message:
            case MmsMessage():
                story: Story | None = reader.stories[0]
                self._logs.message(message, reader.stories[0])
            case Request():
                story = _story_of(reader, message.number)
                self._logs.request(message, story, ends.client, ends.server)
            case Response():
                story = _story_of(reader, message.number)
            case _:
                return
        self._credentials.hear(uid, message, story, reader.stories, (ends.client, ends.server))

    def read(self, document: Document) -> None:
        """Take a body that is no media."""
        self._logs.document(document)
        self._credentials.read(document)

    def close(self, uid: int) -> None:
        """Take note that the connection `uid` has ended."""
        self._credentials.close(uid)

    def finish(self) -> None:
        """Tell what waited for the end."""
        self._credentials.finish()
        self._logs.finish()


def _story_of(reader: Spoken, number: int) -> Story | None:
    """The session of a request, or of the connection where its reader does not tell them apart."""
    if isinstance(reader, HttpSessions):
        return reader.story_of(number)
    return reader.stories[-1] if reader.stories else None
