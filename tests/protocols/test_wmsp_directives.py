"""Headers of MS-WMSP: directives as the specification has them, as real clients send them, and any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsforensics.protocols import Request, Response
from mmsforensics.protocols.messages import At
from mmsforensics.protocols.wmsp_directives import (
    CACHE_CONTROL,
    FEATURES,
    PRAGMA,
    REQUEST_TYPES,
    STARTUP_PROFILE,
    SUPPORTED,
    read_cache_control,
    read_pragma,
    read_startup_profile,
    read_supported,
    request_type,
)

AT = At(direction="client", offset=0, frame=1, ts=0)


def request(*pragmas, method="GET", target="/film", headers=()):
    lines = (*headers, *(("Pragma", p) for p in pragmas))
    return Request(at=AT, method=method, target=target, version="HTTP/1.1", headers=tuple(lines), number=0)


def response(*headers):
    return Response(at=AT, version="HTTP/1.1", status=200, reason="OK", headers=tuple(headers), number=0)


EXAMPLES = {
    "AccelBW": ("AccelBW=1048576", 1048576),
    "AccelDuration": ("AccelDuration=5000", 5000),
    "BurstBW": ("BurstBW=1048576", 1048576),
    "BurstDuration": ("BurstDuration=5000", 5000),
    "client-id": ("client-id=1234", 1234),
    "client-lag": ("client-lag=250", 250),
    "expect-new-header": ("expect-new-header=1", 1),
    "features": ('features="seekable, stridable"', ["seekable", "stridable"]),
    "LinkBW": ("LinkBW=2147483647", 2147483647),
    "log-line": ("log-line=0.0.0.0 2003-09-27 a,b", "0.0.0.0 2003-09-27 a,b"),
    "max-duration": ("max-duration=1000", 1000),
    "no-cache": ("no-cache", True),
    "packet-num": ("packet-num=0", 0),
    "packet-pair-experiment": ("packet-pair-experiment=1", 1),
    "pipeline-experiment": ("pipeline-experiment=1", 1),
    "pipeline-request": ("pipeline-request=1", 1),
    "pipeline-result": ("pipeline-result=1", 1),
    "playlist-gen-id": ("playlist-gen-id=2587", 2587),
    "playlist-seek-id": ("playlist-seek-id=3470", 3470),
    "pl-offset": ("pl-offset=-1", -1),
    "proxy-client-agent": ('proxy-client-agent="NSPlayer/9.0.0.0"', "NSPlayer/9.0.0.0"),
    "rate": ("rate=-5.000", -5.0),
    "request-context": ("request-context=1", 1),
    "Speed": ("Speed=5.000", 5.0),
    "stream-offset": ("stream-offset=1:1024", (1 << 32) + 1024),
    "stream-switch-count": ("stream-switch-count=2", 2),
    "stream-switch-entry": ("stream-switch-entry=1:1F:1", [{"from": 1, "to": 31, "thinning": 1}]),
    "stream-time": ("stream-time=1000", 1000),
    "timeout": ("timeout=60000", 60000),
    "version11-enabled": ("version11-enabled=1", 1),
    "version-info": ("version-info=4.0.1.3850", "4.0.1.3850"),
    "version-url": (
        'version-url="http://codecs.microsoft.com/isapi/mpupgrade.dll"',
        "http://codecs.microsoft.com/isapi/mpupgrade.dll",
    ),
    "xClientGUID": (
        "xClientGUID={11223344-1122-1122-1122-AABBCCDDEEFF}",
        "{11223344-1122-1122-1122-AABBCCDDEEFF}",
    ),
    "xKeepAliveInPause": ("xKeepAliveInPause=1", 1),
    "xPlayNextEntry": ("xPlayNextEntry=1", 1),
    "xPlayStrm": ("xPlayStrm=1", 1),
    "xResetStrm": ("xResetStrm=1", 1),
    "xStopStrm": ("xStopStrm=1", 1),
}
"""Of each directive the specification's example, or one after its grammar, and what it says."""


@pytest.mark.parametrize("directive", PRAGMA, ids=lambda d: d.name)
def test_each_directive_by_its_example(directive):
    text, value = EXAMPLES[directive.name]
    for written in (text, text.replace(directive.name, directive.name.upper(), 1)):
        found = read_pragma(request(written))
        assert found.known == {directive.name: value}
        assert not found.unknown + found.malformed + found.repeated


def test_the_sections_are_those_of_the_specification_in_its_order():
    assert [d.section for d in PRAGMA] == [f"2.2.1.4.{n}" for n in range(1, 39)]
    assert [d.section for d in CACHE_CONTROL] == ["2.2.1.1", *(f"2.2.1.1.{n}" for n in range(1, 13))]
    assert list(REQUEST_TYPES.values()) == [f"2.2.2.{n}" for n in range(1, 11)]


@pytest.mark.parametrize("name", FEATURES)
def test_each_feature(name):
    assert read_pragma(response(("Pragma", f'features="{name}"'))).known == {"features": [name]}


CACHED = {
    "max-age": ("=86399", 86399),
    "x-wms-content-size": ("=638066", 638066),
    "x-wms-event-subscription": ('="remote-open,remote-log"', ["remote-open", "remote-log"]),
    "x-wms-stream-type": ('="broadcast, playlist"', ["broadcast", "playlist"]),
    "x-wms-proxy-split": ('="1"', "1"),
}


@pytest.mark.parametrize("directive", CACHE_CONTROL, ids=lambda d: d.name)
def test_each_directive_of_cache_control(directive):
    text, value = CACHED.get(directive.name, ("", True))
    found = read_cache_control(response(("Cache-Control", directive.name + text)))
    assert (found.known, found.malformed, found.unknown) == ({directive.name: value}, (), ())


@pytest.mark.parametrize("name", SUPPORTED)
def test_each_feature_supported(name):
    assert read_supported(response(("Supported", f"a, {name},b"))) == ["a", name, "b"]


def test_the_startup_profile_of_the_specification():
    """The example of 2.2.1.12."""
    text = (
        "Rate=10,12,15,20,30; MaxBytes=12874,9407,9086,8551,7482;Time=12512,34,34,34,34; "
        "StartTime=1694318962;LastTime=19521;MaxDiffTime=0; MaxDiffSndTime=0;"
        "ByteRate=30794,31469,31469,31469,31469;"
    )
    found = read_startup_profile(response(("X-StartupProfile", text)))
    assert list(found) == list(STARTUP_PROFILE)
    assert found["Time"] == [12512, 34, 34, 34, 34]
    assert all(isinstance(number, int) for numbers in found.values() for number in numbers)


def test_ffmpeg_forgets_a_line_break():
    found = read_pragma(request("no-cache,rate=1.000000,stream-time=0Connection: Close", "xPlayStrm=1"))
    assert found.known == {"no-cache": True, "rate": 1.0, "stream-time": 0, "xPlayStrm": 1}
    assert found.malformed == (("stream-time", "Connection: Close"),)


def test_the_spelling_of_the_specifications_own_examples():
    found = read_pragma(request("switch-stream-count=2", "switch-stream-entry=ffff:1:0 ffff:2:0"))
    both = [{"from": None, "to": n, "thinning": 0} for n in (1, 2)]
    assert found.known == {"stream-switch-count": 2, "stream-switch-entry": both}


def test_a_proxy_that_joins_the_lines():
    joined = 'xPlayStrm=1, stream-switch-entry=ffff:1:0 ffff:2:0, features="a,b", client-id=7'
    assert read_pragma(request(joined)).known["client-id"] == 7
    assert len(read_pragma(request(joined)).known["stream-switch-entry"]) == 2


def test_an_offset_that_is_to_be_ignored():
    assert read_pragma(request("stream-offset=4294967295:4294967295")).known == {"stream-offset": None}


@pytest.mark.parametrize(
    "wrong",
    [
        "client-id=4294967296",
        "client-id=",
        "client-id=-1",
        "rate=0.000",
        "rate=6",
        "Speed=0.5",
        "xPlayStrm=2",
        "timeout=999",
        "pl-offset=2",
        "stream-offset=1",
        "stream-switch-entry=ffff:1:3",
        "xClientGUID={0xbabac001-0x12}",
        "request-context=0",
    ],
)
def test_a_value_that_the_specification_does_not_allow_is_kept_as_sent(wrong):
    name, _, text = wrong.partition("=")
    found = read_pragma(request(wrong))
    assert (found.known, found.malformed) == ({}, ((name, text),))


def test_unknown_and_repeated_ones_are_kept():
    found = read_pragma(request("x-new=5, client-id=1", "client-id=2, later"))
    assert found.known == {"client-id": 1}
    assert found.repeated == (("client-id", 2),)
    assert found.unknown == (("x-new", "5"), ("later", ""))


def test_cache_control_supported_and_startup_profile():
    message = response(
        ("Cache-Control", 'no-cache, x-wms-content-size=638066, x-wms-event-subscription="remote-log"'),
        ("Cache-Control", 'max-age=86399, user-public, x-wms-stream-type="broadcast,playlist", s-maxage=1'),
        ("Supported", "com.microsoft.wm.srvppair, com.microsoft.wm.sswitch,com.example.new"),
        ("X-StartupProfile", "Rate=10,12;MaxBytes=12874,9407;StartTime=1694318962;MaxDiffSndTime=-5;Odd=x;"),
    )
    found = read_cache_control(message)
    assert found.known == {
        "no-cache": True,
        "x-wms-content-size": 638066,
        "x-wms-event-subscription": ["remote-log"],
        "max-age": 86399,
        "user-public": True,
        "x-wms-stream-type": ["broadcast", "playlist"],
    }
    assert found.unknown == (("s-maxage", "1"),)
    assert read_supported(message) == [
        "com.microsoft.wm.srvppair",
        "com.microsoft.wm.sswitch",
        "com.example.new",
    ]
    assert read_startup_profile(message) == {
        "Rate": [10, 12],
        "MaxBytes": [12874, 9407],
        "StartTime": [1694318962],
        "MaxDiffSndTime": [-5],
        "Odd": "x",
    }


def typed(content_type):
    return [("Content-Type", content_type)]


TYPES = [
    (request(), "Describe"),
    (request("xPlayStrm=0"), "Describe"),
    (request("xPlayStrm=1", "stream-switch-entry=ffff:1:0"), "Play"),
    (request("pipeline-request=1"), "Pipeline"),
    (request("xPlayNextEntry=1"), "PlayNextEntry"),
    (request("stream-switch-entry=ffff:1:0"), "SelectStream"),
    (request("stream-switch-entry=ffff:1:0", method="POST"), "SelectStream"),
    (request("xStopStrm=1", method="POST"), "Stop"),
    (request("xKeepAliveInPause=1", method="POST"), "KeepAlive"),
    (request("client-id=5", method="OPTIONS", target="*"), "KeepAlive"),
    (request("log-line=a b", method="POST"), "Log"),
    (request(method="POST", headers=typed("application/x-wms-LogStats;charset=UTF-8")), "Log"),
    (request(method="POST", headers=typed("text/plain")), "Log"),
    (request(method="POST", headers=typed("application/x-wms-sendevent")), "SendEvent"),
    (request(method="POST", headers=typed("application/x-wms-getcontentinfo")), "GetContentInfo"),
    (request(method="POST", headers=typed("application/x-wms-pushsetup")), "PushSetup"),
    (request(method="POST", headers=typed("application/x-wms-pushstart;charset=UTF-8")), "PushStart"),
    (request(method="POST", headers=typed("application/x-www-form-urlencoded")), ""),
    (request(method="PUT"), ""),
]


@pytest.mark.parametrize(("message", "kind"), TYPES)
def test_request_types(message, kind):
    assert request_type(message, read_pragma(message)) == kind


@given(st.lists(st.text(max_size=200), max_size=5))
def test_any_text(lines):
    found = read_pragma(request(*lines))
    request_type(request(*lines), found)
    read_startup_profile(response(*(("X-StartupProfile", line) for line in lines)))


@given(
    st.lists(
        st.sampled_from([*(e[0] for e in EXAMPLES.values()), ",", "=", '"', "x", "ffff:1:0 ", " "]),
        max_size=30,
    )
)
def test_any_mixture(parts):
    read_pragma(request("".join(parts)))


@pytest.mark.parametrize("unit", ["=", '"', ",", "a", "a=", '="', "0:0:0 ", " ", "a,", "log-line"])
def test_the_largest_head_that_is_read(unit):
    """Whose search would be quadratic if it were not bounded."""
    text = unit * (65536 // len(unit))
    found = read_pragma(request(text, "stream-switch-entry=" + text))
    assert len(found.known) <= 1
