"""Packet tables in; byte runs, gaps and datagrams of the flows worth decoding out.

The room knows transport protocols (TCP, UDP) and nothing of what they carry, but for the short byte
signatures of :mod:`mmsforensics.streams.signatures` by which a flow is kept or let go.
"""

from mmsforensics.streams.fast_path import InOrder, Predicted
from mmsforensics.streams.flow import Flow, FlowPackets
from mmsforensics.streams.flow_watch import FlowSummary, FlowWatch, SideSummary
from mmsforensics.streams.flows import FlowTable
from mmsforensics.streams.overlap import Policy
from mmsforensics.streams.reassembly import TcpReassembler
from mmsforensics.streams.runs import PIECE, Conflict, Datagrams, Gap, Run, locate, spans
from mmsforensics.streams.watch import ANOMALY, Kind

__all__ = [
    "ANOMALY",
    "PIECE",
    "Conflict",
    "Datagrams",
    "Flow",
    "FlowPackets",
    "FlowSummary",
    "FlowTable",
    "FlowWatch",
    "Gap",
    "InOrder",
    "Kind",
    "Policy",
    "Predicted",
    "Run",
    "SideSummary",
    "TcpReassembler",
    "locate",
    "spans",
]
