"""Which protocol a direction speaks, and which it only seems to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsforensics.protocols import Protocol, detect

RECORD = bytes.fromhex("01000000cefa0bb0600000004d4d53200c00000002000000")


@pytest.mark.parametrize(
    ("first", "protocol"),
    [
        (RECORD, Protocol.MMS),
        (RECORD[:8], Protocol.MMS),
        (b"\0\1\2 in the middle of a packet" + RECORD, Protocol.MMS),
        (b"GET /a HTTP/1.0\r\n", Protocol.HTTP),
        (b"HTTP/1.1 200 OK\r\n", Protocol.HTTP),
        (b"end of a body\r\nHTTP/1.0 404 Not Found\r\n", Protocol.HTTP),
        (b"end of a body\r\nPOST /log HTTP/1.1\r\n", Protocol.HTTP),
        (b"", None),
        (bytes.fromhex("0300001611e00000000100c0010ac1020001c2020001"), None),  # the other MMS, ISO 9506
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), None),  # TLS
        (b"SSH-2.0-OpenSSH_9.2\r\n", None),
        (b"the string MMS \xce\xfa\x0b\xb0 by chance" + bytes(20), None),
        (b"GET what you can\r\n", None),
    ],
)
def test_detect(first, protocol):
    assert detect(first) is protocol


@given(st.binary(max_size=300))
def test_any_bytes(first):
    assert detect(first) in (None, Protocol.MMS, Protocol.HTTP)
