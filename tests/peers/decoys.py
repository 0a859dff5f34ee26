"""Traffic that is named like Windows Media, or talks of it, and is none."""

import struct


def tpkt(payload):
    """TPKT [RFC 1006 6]."""
    return struct.pack(">BBH", 3, 0, 4 + len(payload)) + payload


def cotp_data(payload):
    """COTP data TPDU [ISO 8073 13.7]."""
    return b"\x02\xf0\x80" + payload


def ber(tag, content):
    """A BER element of up to 65535 bytes [X.690 8.1]."""
    size = len(content)
    length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + content


def manufacturing(values=200):
    """Manufacturing Message Specification [ISO 9506-2] over TPKT and COTP: initiate, then reads."""
    connect = b"\x11\xe0\x00\x00\x00\x01\x00\xc0\x01\x0a\xc1\x02\x00\x01\xc2\x02\x00\x01"
    confirm = b"\x11\xd0\x00\x01\x00\x02\x00\xc0\x01\x0a\xc1\x02\x00\x01\xc2\x02\x00\x01"
    session = b"\x01\x00\x01\x00"  # give tokens, data transfer [ISO 8327]
    initiate = ber(
        0xA8, ber(0x80, b"\x7d\x00") + ber(0x81, b"\x0a") + ber(0x82, b"\x0a") + ber(0x83, b"\x05")
    )
    conversation = [("c", tpkt(connect)), ("s", tpkt(confirm)), ("c", tpkt(cotp_data(session + initiate)))]
    for number in range(values):
        name = ber(0xA1, ber(0x1A, b"MMS ") + ber(0x1A, b"GGIO1$ST$Ind%d$stVal" % number))
        read = ber(0xA0, ber(0x02, number.to_bytes(2, "big")) + ber(0xA4, ber(0xA1, ber(0xA0, name))))
        answer = ber(0xA1, ber(0x02, number.to_bytes(2, "big")) + ber(0xA4, ber(0xA1, ber(0x83, b"\xff"))))
        conversation.append(("c", tpkt(cotp_data(session + read))))
        conversation.append(("s", tpkt(cotp_data(session + answer))))
    return conversation


def multimedia_message(picture):
    """A message of the Multimedia Messaging Service: M-Retrieve.conf over HTTP [OMA-TS-MMS_ENC 6.3, 7.3]."""
    head = b"\x8c\x84\x98T1\0\x8d\x90\x85\x04\x65\x53\xf1\x00\x96Holiday\0\x84\xb3"
    part = b"\x0a\x1e" + b"\x9e\x8epic.jpg\0" + picture
    body = head + b"\x01" + part
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.wap.mms-message\r\n"
        b"X-WAP-Content-URI: mms://mmsc.example.com/1\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    kind = b"application/vnd.wap.mms-message"
    notify = b"POST /servlets/mms HTTP/1.1\r\nHost: mmsc.example.com\r\nContent-Type: " + kind + b"\r\n"
    sent = b"\x8c\x80\x98T2\0\x8d\x90" + picture
    return [
        (
            "c",
            b"GET /mms/1.mms HTTP/1.1\r\nHost: mmsc.example.com\r\nAccept: " + kind + b"\r\n\r\n",
        ),
        ("s", answer + body),
        ("c", notify + b"Content-Length: %d\r\n\r\n" % len(sent) + sent),
        ("s", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ]


def page(body, *, content_type=b"text/html", target=b"/"):
    """A page over HTTP."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: " + content_type + b"\r\nContent-Length: %d\r\n\r\n" % len(body)
    return [("c", b"GET " + target + b" HTTP/1.1\r\nHost: www.example.com\r\n\r\n"), ("s", head + body)]
