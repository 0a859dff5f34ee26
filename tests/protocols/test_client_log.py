"""What players report, as the specification prints it, and anything else [MS-WMLOG]."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st
from peers.mmst_server import logging_body

from mmsforensics.evidence.log_fields import LINE_44, LINES, field_named, typed
from mmsforensics.protocols.client_log import from_client_log, parse_document, parse_line, parse_xml
from mmsforensics.protocols.mms_layout import CLIENT_LOG, parse_fields

# MS-WMLOG 3.1
LINE = (
    "0.0.0.0 2003-09-27 00:27:24 - http://10.194.20.175/mcast1200K 0 42 1 200 "
    "{3300AD50-2C39-46c0-AE0A-B4C904C7848E} 9.0.0.2980 en-US WMFSDK/9.0.0.2980_WMPlayer/9.0.0.3008 - "
    "wmplayer.exe 9.0.0.2980 Windows_XP 5.1.0.2600 Pentium 1801 268885194 1255347 http TCP "
    "Windows_Media_Audio_9 Windows_Media_Video_9 - - 6321233 - 4496 0 0 0 0 0 0 1 0 100 - - - -"
)
MORE = " http://10.194.20.175/mcast1200K?WMBitrate=6000000 30MinTV_1200k_1s_1s_0Q.wmv -"
# MS-WMLOG 3.4
RENDERING = (
    "0.0.0.0 2006-05-01 21:34:01 - http://server.example.com/content.wmv 4 0 1 200 "
    "{3300AD50-2C39-46c0-AE0A-3E0B6EFB86DC} 10.0.0.3802 en-US "
    "Mozilla/4.0_(compatible;_MSIE_6.0;_Windows_NT_5.1)_(WMFSDK/10.0.0.3802)_WMPlayer/10.0.0.4019 "
    "http://bar.microsoft.com iexplore.exe 6.0.2900.2180 Windows_XP 5.1.0.2600 Pentium 130 638066 - Cache - "
    "Windows_Media_Audio_9 Windows_Media_Video_9 - - 0 - - - - - - - - - - 100 - - - - - - - "
    "http://server.example.com/content.wmv - - - 0"
)
XML = f"""<XML>
<Summary>{LINE}{MORE.replace("6000000", "6000000&amp;x=1")}
</Summary>
<c-ip>0.0.0.0</c-ip>
<date>2003-09-27</date>
<c-playerid>{{3300AD50-2C39-46c0-AE0A-B4C904C7848E}}<c-playerid>
<c-bytes>6321233</c-bytes>
<c-pkts-received>4496</c-pkts-received>
<cs-url>http://10.194.20.175/mcast1200K?WMBitrate=6000000&amp;x=1</cs-url>
<ContentDescription>
<WMS_CONTENT_DESCRIPTION_PLAYLIST_ENTRY_URL>
30MinTV_1200k_1s_1s_0Q.wmv</WMS_CONTENT_DESCRIPTION_PLAYLIST_ENTRY_URL>
<WMS_CONTENT_DESCRIPTION_SERVER_BRANDING_INFO>WMServer/9.0</WMS_CONTENT_DESCRIPTION_SERVER_BRANDING_INFO>
</ContentDescription>
<VendorNameSpace>
<vendor-field1>Value1</vendor-field1>
</VendorNameSpace>
</XML>
"""
CONNECT_TIME = """<XML>
<Summary></Summary>
<c-dns>-</c-dns>
<c-ip>0.0.0.0</c-ip>
<c-os>Windows</c-os>
<c-osversion>6.0.0.6000</c-osversion>
<date>2006-08-30</date>
<time>13:18:44</time>
<c-cpu>Pentium</c-cpu>
<transport>TCP</transport>
</XML>"""


def test_the_line_of_44_fields_decodes_to_what_it_prints():
    log = parse_line(LINE)
    assert (log.kind, log.problems) == ("legacy", ())
    assert list(log.texts) == [f.name for f in LINE_44]
    assert " ".join(log.texts.values()) == LINE
    values = {f.name: typed(f, log.texts[f.name])[0] for f in LINE_44}
    assert values["c-bytes"] == 6321233
    assert values["c-pkts-received"] == 4496
    assert values["x-duration"] == 42.0
    assert values["c-quality"] == 100
    assert values["sc-bytes"] is None
    assert values["c-os"] == "Windows_XP"


def test_lines_of_47_and_52_fields():
    assert parse_line(LINE + MORE).texts["cs-media-name"] == "30MinTV_1200k_1s_1s_0Q.wmv"
    log = parse_line(RENDERING)
    assert (log.kind, log.problems) == ("rendering", ())
    assert log.texts["s-proxied"] == "0"
    assert log.texts["cs-url"] == "http://server.example.com/content.wmv"


def test_blanks_in_the_user_agent_are_read_by_what_stands_behind():
    agent = "Application/2.3 (WMFSDK/9.0.1234)"  # MS-WMLOG 2.1.34, example 2
    for line in (LINE, LINE + MORE):
        log = parse_line(line.replace("WMFSDK/9.0.0.2980_WMPlayer/9.0.0.3008", agent))
        assert log.texts["cs-User-Agent"] == agent
        assert log.texts["c-bytes"] == "6321233"
        assert len(log.problems) == 1


def test_a_line_that_is_cut_gives_what_it_has():
    log = parse_line(LINE[:200])
    assert log.texts["c-playerid"] == "{3300AD50-2C39-46c0-AE0A-B4C904C7848E}"
    assert "cut" in log.problems[0]


def test_a_value_of_another_type_is_told_and_costs_nothing_else():
    log = parse_line(LINE.replace(" 6321233 ", " many "))
    assert log.texts["c-pkts-received"] == "4496"
    assert "c-bytes: expected a count, found 'many'" in log.problems


def test_xml_logs():
    log = parse_xml(XML)
    assert log.kind == "legacy"
    assert log.problems == ()
    assert log.texts["c-cpu"] == "Pentium"  # of the summary
    assert log.texts["cs-url"].endswith("&x=1")
    assert log.more == {
        "ContentDescription/WMS_CONTENT_DESCRIPTION_PLAYLIST_ENTRY_URL": "30MinTV_1200k_1s_1s_0Q.wmv",
        "ContentDescription/WMS_CONTENT_DESCRIPTION_SERVER_BRANDING_INFO": "WMServer/9.0",
        "VendorNameSpace/vendor-field1": "Value1",
    }


def test_a_connect_time_log():
    log = parse_xml(CONNECT_TIME)
    assert (log.kind, log.problems) == ("connect-time", ())
    assert log.texts["c-osversion"] == "6.0.0.6000"


def test_element_and_summary_that_differ_are_told():
    log = parse_xml(XML.replace("<c-bytes>6321233<", "<c-bytes>1<"))
    assert log.texts["c-bytes"] == "1"
    assert "c-bytes: the element says '1', the summary '6321233'" in log.problems


def test_entities_are_not_expanded():
    log = parse_xml("<!DOCTYPE x [<!ENTITY a 'b'>]><XML><Summary></Summary><c-os>&a;&amp;lt;</c-os></XML>")
    assert log.texts["c-os"] == "&a;&lt;"


def test_a_log_sent_to_a_web_server():
    log = parse_document(b"MX_STATS_LogLine: \t" + LINE.encode() + b"\r\n")
    assert log.texts["c-bytes"] == "6321233"
    assert (log.form, log.problems) == ("line", ())


def test_a_log_inside_a_remote_event():
    body = f"1\r\n1,30,0\r\n13,@.REMOTE_LOG,31,{len(XML)},{XML}\r\n".encode()
    assert parse_document(body).texts["c-bytes"] == "6321233"
    assert parse_document(b"1\r\n1,28,0\r\n") is None


def test_client_log_of_mms_speaks_in_the_same_names():
    body = logging_body("mms://host/a.wma", packets=33, received=1000, address=0x0100000A)
    fields, missing = parse_fields((("log", "clientLog"),), bytes(8) + body)
    assert missing is None
    log = from_client_log(fields["clientLog"])
    assert log.kind == "legacy"
    assert log.texts["cs-uri-stem"] == "mms://host/a.wma"
    assert log.texts["c-playerversion"] == "9.0.0.2980"
    assert log.texts["c-pkts-received"] == "33"
    assert log.texts["filelength"] == "2.0"
    assert log.texts["c-ip"] == "10.0.0.1"
    assert log.more["dwSourceId"] == "1"


def test_every_field_of_client_log_is_told():
    names = {name for _, name in CLIENT_LOG}
    log = from_client_log(dict.fromkeys(names, 7))
    assert len(log.texts) - 2 + len(log.more) == len(names)  # date and time are not among them


def test_names_of_server_logs_are_the_same_fields():
    assert field_named("cs(User-Agent)").name == "cs-User-Agent"
    assert field_named("channelURL").name == "c-channelURL"
    assert field_named("cs-username").name == "cs-user-name"
    assert field_named("x-nothing") is None
    columns = [f.column for f in LINES[52]]
    assert len(set(columns)) == 52


pieces = st.sampled_from(
    [
        b"<XML>",
        b"</XML>",
        b"<Summary>",
        b"<c-ip>",
        b"</c-ip>",
        b"<<",
        b"&amp;",
        LINE.encode(),
        b"MX_STATS_LogLine:\t",
        b" ",
        b"-",
    ]
)


@given(st.lists(st.one_of(pieces, st.binary(max_size=40)), max_size=12).map(b"".join))
def test_any_bytes_give_a_log_or_none(data):
    log = parse_document(data)
    if log is not None:
        assert all(isinstance(v, str) for v in log.texts.values())
    parse_xml(data.decode("latin-1"))
    parse_line(data.decode("latin-1"))


@given(st.binary(max_size=1600))
def test_any_client_log_gives_a_log(data):
    fields, _ = parse_fields((("log", "clientLog"),), struct.pack("<II", 0, 0) + data)
    log = fields.get("clientLog")
    if log is not None:
        from_client_log(log)
