"""How events read."""

from __future__ import annotations

import string

import pytest

from mmsforensics.sessions.wording import FIELD, OPTIONAL, TEMPLATES, summarise


@pytest.mark.parametrize(
    ("event", "details", "text"),
    [
        ("ReportReadBlock", {"hr": 0}, "server sends the header, ok"),
        ("HttpRequest", {"request": "Play", "method": "GET", "target": "/", "agent": ""}, "Play GET /"),
        ("HttpResponse", {"status": 401, "reason": "", "content_type": None, "server": "x"}, "401, x"),
        ("HttpBodyEnd", {"length": 9, "complete": False}, "body of 9 bytes ends, not whole"),
        (
            "WmspStreamSelection",
            {"selected": [1, 2], "key_frames_only": [], "off": [3]},
            "streams asked for: 1, 2, off 3",
        ),
        ("FirstMediaPacket", {"location": None}, "first media packet"),
        ("FirstMediaPacket", {"location": 0}, "first media packet, number 0"),
        (
            "StartStriding",
            {"rate": 8.046000000000001},
            "player starts playing at rate 8.046 ?, incarnation ?",
        ),
        ("OpenFile", {"fileName": "{0} [x{y}]"}, "player asks for {0} [x{y}]"),
    ],
)
def test_what_is_not_there_is_left_out_or_marked(event, details, text):
    assert summarise(event, details) == text


@pytest.mark.parametrize("event", TEMPLATES)
def test_every_template_reads_without_any_details(event):
    assert "[" not in summarise(event, {})
    parts = OPTIONAL.findall(TEMPLATES[event])
    assert all(FIELD.search(part) for part in parts), "what is optional depends on a field"
    assert string.Formatter().parse(TEMPLATES[event])
