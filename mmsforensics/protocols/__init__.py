"""Byte runs and datagrams in; typed messages of one vocabulary out.

One module a protocol, each sans-I/O and sans-clock and total: any bytes give messages or located
`Malformed` items, and decoding resumes at the next sound boundary.
"""

from mmsforensics.protocols.decoder import DECODERS, ApartDecoder, Decoder
from mmsforensics.protocols.detect import Protocol, detect
from mmsforensics.protocols.http import HttpDecoder
from mmsforensics.protocols.messages import (
    DATA_PACKET,
    Body,
    BodyEnd,
    CutPacket,
    DataPackets,
    Hole,
    Malformed,
    Message,
    MmsMessage,
    MsbBeacon,
    MsbdMessage,
    MsbPackets,
    Overlap,
    Request,
    Reset,
    Response,
    RtcpPacket,
    RtpPackets,
    StreamEnd,
    WmspPacket,
)
from mmsforensics.protocols.middle import find_asf_packets, find_data_packets, find_framing, find_pushed
from mmsforensics.protocols.mms import MmsStreamDecoder
from mmsforensics.protocols.mms_datagrams import decode_datagrams
from mmsforensics.protocols.rtsp import RtspStreamDecoder, find_interleaved
from mmsforensics.protocols.wmsp import WmspDecoder

__all__ = [
    "DATA_PACKET",
    "DECODERS",
    "ApartDecoder",
    "Body",
    "BodyEnd",
    "CutPacket",
    "DataPackets",
    "Decoder",
    "Hole",
    "HttpDecoder",
    "Malformed",
    "Message",
    "MmsMessage",
    "MmsStreamDecoder",
    "MsbBeacon",
    "MsbPackets",
    "MsbdMessage",
    "Overlap",
    "Protocol",
    "Request",
    "Reset",
    "Response",
    "RtcpPacket",
    "RtpPackets",
    "RtspStreamDecoder",
    "StreamEnd",
    "WmspDecoder",
    "WmspPacket",
    "decode_datagrams",
    "detect",
    "find_asf_packets",
    "find_data_packets",
    "find_framing",
    "find_interleaved",
    "find_pushed",
]
