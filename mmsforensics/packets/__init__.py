"""Windows of evidence in; columnar tables of packets out.

The room knows link layers, IP, TCP and UDP, one packet at a time, and nothing of flows.
"""

from mmsforensics.packets.links import link_type_name
from mmsforensics.packets.scan import CaptureScan, ScanSummary, scan
from mmsforensics.packets.table import NO_TIME, PACKET, PacketBatch, Status

__all__ = [
    "NO_TIME",
    "PACKET",
    "CaptureScan",
    "PacketBatch",
    "ScanSummary",
    "Status",
    "link_type_name",
    "scan",
]
