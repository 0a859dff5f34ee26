"""The slow road: dpkt decodes the few frames that the compiled pass leaves to it.

dpkt reads each header; where the next one begins is counted here, for a row says where in the frame its
payload lies. The rules are those of `mmsforensics.packets.decode`, and a test holds the two to the same
answer. The steps stand by what carries what: links in `slow_links`, `slow_ethernet` and `slow_wlan`, IP in
`slow_ip`, and what IP carries in `slow_transports`. No module but these knows dpkt.

Rules of these files:

* each step gives dpkt the bytes of one header only: its classes decode all that they are given, and an
  error far inside would hide what is sound further out;
* each step reads one header at the cursor and names the next step, or ends with a status;
* whatever dpkt raises makes the frame MALFORMED: nothing passes the edge of `decode_slow`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmsforensics.packets.slow_cursor import FIELDS, Cursor, Step, carried, other
from mmsforensics.packets.slow_ethernet import llc
from mmsforensics.packets.slow_ip import extension
from mmsforensics.packets.slow_links import LINKS
from mmsforensics.packets.slow_transports import TRANSPORTS, decode
from mmsforensics.packets.table import Status


def decode_slow(frame: bytes, row: np.void) -> None:
    """Decode one frame with dpkt into its row.

    Parameters
    ----------
    frame : bytes
        The captured bytes.
    row : void of `PACKET`
        `wirelen` and `link` are read; the decoded fields and `status` are written. Never raises.
    """
    _settle(Cursor(frame, int(row["wirelen"])), row, LINKS.get(int(row["link"]), other))


def decode_inside(frame: bytes, at: int, end: int, row: NDArray[np.void]) -> None:
    """Decode a frame's part that begins with an LLC header: a subframe of an aggregate.

    Parameters
    ----------
    frame : bytes
        The captured bytes of the whole frame.
    at, end : int
        Where the part begins and ends.
    row : ndarray of `PACKET`, shape ()
        As of `decode_slow`.
    """
    cursor = Cursor(frame, len(frame))
    cursor.at = at
    cursor.cut(end - at)
    _settle(cursor, row, llc)


def decode_payload(payload: bytes, row: NDArray[np.void]) -> None:
    """Decode the payload of an IP packet that was put together from fragments.

    Parameters
    ----------
    payload : bytes
        What was captured of it, from its first byte on.
    row : ndarray of `PACKET`, shape ()
        Addresses, `version`, `proto` and `wirelen` are read; the decoded fields and `status` are written.
        Never raises.
    """
    cursor = Cursor(payload, int(row["wirelen"]))
    outer = ("src_hi", "src_lo", "dst_hi", "dst_lo", "version", "proto")
    cursor.fields = {name: int(row[name]) for name in outer}
    _settle(cursor, row, extension if row["version"] == 6 else TRANSPORTS.get(int(row["proto"]), carried))


def _settle(cursor: Cursor, row: np.void | NDArray[np.void], step: Step) -> None:
    """Decode from `step` on and write what was found into the row."""
    try:
        status = decode(cursor, step)
    except Exception:  # dpkt raises many types on hostile input; all mean the same here
        status = Status.MALFORMED
    if status is Status.MALFORMED:
        addresses = ("src_hi", "src_lo", "dst_hi", "dst_lo", "version", "proto")
        cursor.fields = {name: cursor.fields.get(name, 0) for name in addresses}
    for name in FIELDS:
        row[name] = cursor.fields.get(name, 0)
    row["status"] = status
