"""Windows of evidence in; columnar tables of packets out.

The room knows link layers, IP, TCP and UDP, the fragments of a packet and the captures of a set, and
nothing of flows.
"""

from mmsforensics.packets.aggregates import unfold
from mmsforensics.packets.ahead import read_ahead
from mmsforensics.packets.fragments import Fragments, Stitched
from mmsforensics.packets.links import link_type_name
from mmsforensics.packets.numbering import Numbering
from mmsforensics.packets.scan import CaptureScan, ScanSummary, first_times, scan
from mmsforensics.packets.table import NO_TIME, PACKET, PacketBatch, Status, known_time

__all__ = [
    "NO_TIME",
    "PACKET",
    "CaptureScan",
    "Fragments",
    "Numbering",
    "PacketBatch",
    "ScanSummary",
    "Status",
    "Stitched",
    "first_times",
    "known_time",
    "link_type_name",
    "read_ahead",
    "scan",
    "unfold",
]
