"""Community ID v1: the same short name for a flow in Zeek, Suricata, Arkime and here.

Source: the Community ID specification, version 1, with seed 0.
"""

from __future__ import annotations

import base64
import hashlib


def community_id(proto: int, a: bytes, a_port: int, b: bytes, b_port: int) -> str:
    """Return the Community ID of a TCP or UDP flow.

    Parameters
    ----------
    proto : int
        IP protocol number.
    a, b : bytes
        Addresses, 4 or 16 bytes; the order of the ends does not matter.
    a_port, b_port : int
    """
    (a, a_port), (b, b_port) = sorted(((a, a_port), (b, b_port)))
    seed, padding = b"\0\0", b"\0"
    ports = a_port.to_bytes(2, "big") + b_port.to_bytes(2, "big")
    digest = hashlib.sha1(seed + a + b + bytes([proto]) + padding + ports, usedforsecurity=False).digest()
    return "1:" + base64.b64encode(digest).decode("ascii")
