"""How far a session came, as a transition table.

Rules of this file: the phases and their changes are data, and `docs/sessions.md` lists them; an event that
the table does not name in a phase changes nothing, because captures begin and end anywhere.
"""

from __future__ import annotations

BEGUN = "begun"
CHALLENGED = "challenged"
OPENED = "opened"
DESCRIBED = "described"
PLAYING = "playing"
STOPPED = "stopped"
COMPLETED = "completed"
FAILED = "failed"
REDIRECTED = "redirected"


TRANSITIONS: dict[str, dict[str, str]] = {
    "SecurityChallenge": {BEGUN: CHALLENGED, FAILED: CHALLENGED},
    "ReportOpenFile": {BEGUN: OPENED, CHALLENGED: OPENED, FAILED: OPENED},
    "AsfHeader": {BEGUN: DESCRIBED, CHALLENGED: DESCRIBED, OPENED: DESCRIBED, FAILED: DESCRIBED},
    "Media": {
        BEGUN: PLAYING,
        CHALLENGED: PLAYING,
        OPENED: PLAYING,
        DESCRIBED: PLAYING,
        STOPPED: PLAYING,
        COMPLETED: PLAYING,
        FAILED: PLAYING,
        REDIRECTED: PLAYING,
    },
    "StopPlaying": {PLAYING: STOPPED},
    "CloseFile": {PLAYING: STOPPED},
    "EndOfStream": {PLAYING: COMPLETED},
    "EndOfEntry": {},
    "Failure": {BEGUN: FAILED, CHALLENGED: FAILED, OPENED: FAILED, DESCRIBED: FAILED, PLAYING: FAILED},
    "Redirect": {
        BEGUN: REDIRECTED,
        CHALLENGED: REDIRECTED,
        OPENED: REDIRECTED,
        DESCRIBED: REDIRECTED,
        FAILED: REDIRECTED,
    },
}
"""Event: {phase: next phase}. `Media` is a media packet, `EndOfStream` the server's word that it has sent
everything, `EndOfEntry` that another entry of a playlist follows, `Failure` a failed hr or status."""

OUTCOMES: dict[str, str] = {
    BEGUN: "no content opened",
    CHALLENGED: "credentials asked for",
    OPENED: "content opened, no header",
    DESCRIBED: "header only",
    PLAYING: "interrupted",
    STOPPED: "stopped by client",
    COMPLETED: "completed",
    FAILED: "failed",
    REDIRECTED: "redirected",
}
"""Phase at the end of the session: the word in the column `outcome`."""


def advance(phase: str, event: str) -> str:
    """The phase after an event."""
    return TRANSITIONS[event].get(phase, phase)
