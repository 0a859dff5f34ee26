"""Packet tables in; byte runs, gaps and datagrams of the flows worth decoding out.

The room knows transport protocols (TCP, UDP) and nothing of what they carry, but for the short byte
signatures of :mod:`mmsforensics.streams.signatures` by which a flow is kept or let go.
"""

from mmsforensics.streams.flows import Flow, FlowPackets, FlowTable
from mmsforensics.streams.reassembly import TcpReassembler
from mmsforensics.streams.runs import PIECE, Conflict, Datagrams, Gap, Run, locate, spans

__all__ = [
    "PIECE",
    "Conflict",
    "Datagrams",
    "Flow",
    "FlowPackets",
    "FlowTable",
    "Gap",
    "Run",
    "TcpReassembler",
    "locate",
    "spans",
]
