"""How events read: one line each, apart from the data they are made of."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from mmsforensics.sessions.hresults import NS_NAMES, WIN32_NAMES

TEMPLATES: dict[str, str] = {
    "Connect": "player announces itself: {subscriberName}",
    "ConnectFunnel": "player wants the data at {funnelName}",
    "OpenFile": "player asks for {fileName}",
    "StartPlaying": "player starts playing {start}, incarnation {playIncarnation}",
    "StartStriding": "player starts playing at rate {rate} {start}, incarnation {playIncarnation}",
    "StopPlaying": "player stops",
    "CloseFile": "player closes the file",
    "ReadBlock": "player asks for the header",
    "CancelReadBlock": "player no longer wants the header",
    "FunnelInfo": "player asks about the funnel",
    "SecurityResponse": "player answers the challenge, {cbToken} bytes",
    "Pong": "player answers a ping",
    "Logging": "player reports {dwPacketsReceived} packets received, {dwPacketsLostNet} lost on the net",
    "StreamSwitch": "player selects streams: {streams}",
    "ReportConnectedEX": "server {ServerVersionInfo} accepts, {hr_name}",
    "ReportConnectedFunnel": "server agrees to the funnel, {hr_name}",
    "ReportDisconnectedFunnel": "server refuses the funnel, {hr_name}",
    "ReportOpenFile": "server: {hr_name}; {fileDuration} s, packets of {filePacketSize} bytes, "
    "header of {fileHeaderSize} bytes[; {attributes}]",
    "ReportReadBlock": "server sends the header, {hr_name}",
    "ReportStartedPlaying": "server starts sending, {hr_name}",
    "ReportStartStriding": "server starts sending at the rate asked for, {hr_name}",
    "ReportFunnelInfo": "server describes the funnel, client id {nCubs}",
    "ReportStreamSwitch": "server switches streams, {hr_name}",
    "ReportStreamChange": "server announces a new content: packets of {cbPacketSize} bytes, "
    "header of {cbHeaderSize} bytes",
    "ReportEndOfStream": "server: end of stream, {hr_name}",
    "ReportRedirect": "server sends the player to {wszLocation}",
    "SecurityChallenge": "server asks who it is, {cbToken} bytes",
    "RequestPacketListResend": "player asks for {wNumPackets} packets again: {captured_before} had been "
    "captured, {not_captured_before} had not",
    "ForeignRequest": "{sender}, which is not the player, asks for {wNumPackets} packets again in its name",
    "Ping": "server asks whether the player is there",
    "AsfHeader": "ASF header of {size} bytes: {streams} streams, title {title!r}",
    "FirstMediaPacket": "first media packet[, number {location}]",
    "LastMediaPacket": "last media packet[, number {location}]; {packets} in all",
    "HttpRequest": "{request} {method} {target}[ by {agent}]",
    "HttpResponse": "{status}[ {reason}][, {content_type}][, {server}]",
    "OtherSender": "data come from {sender} port {port}, not from the server",
    "UploadedFile": "a file of Windows Media begins at byte {body_offset} of the request's body[: {name}]",
    "CarvedFile": "a file of Windows Media begins at byte {stream_offset} of the stream",
    "RangesDiffer": "{differing} of {repeated} bytes that were sent again differ; the first ones were kept",
    "HttpRequestBody": "the request has a body of {length} bytes",
    "HttpBodyEnd": "body of {length} bytes ends[, {whole}]",
    "HttpRedirect": "{status}: the client is sent to {location}",
    "HttpChallenge": "the {by} asks who the client is[: {schemes}]",
    "HttpCredentials": "the client says who it is, by {scheme}",
    "WmspStreamSelection": "streams asked for: {selected}[, key frames only {key_frames_only}][, off {off}]",
    "WmspFiller": "$F: {repeated} packets of filling",
    "WmspStreamChange": "$C: a new content follows, reason {reason}: {meaning}",
    "WmspEndOfStream": "$E: end of stream, reason {reason}: {meaning}",
    "WmspPacketPair": "$P: packet pair",
    "WmspPipelineTest": "$T: pipeline test",
    "MSB_MSG_REQ_PING": "server asks whether the client is there",
    "MSB_MSG_RES_PING": "client answers a ping",
    "MSB_MSG_REQ_STREAMINFO": "client asks about the stream",
    "MSB_MSG_RES_STREAMINFO": "server describes stream {wStreamId}: {title!r}, header of {cbHeader} bytes, "
    "{hr_name}",
    "MSB_MSG_IND_STREAMINFO": "server announces stream {wStreamId}: {title!r}, header of {cbHeader} bytes, "
    "{hr_name}",
    "MSB_MSG_REQ_CONNECT": "client asks for channel {szChannel}, flags {dwFlags}",
    "MSB_MSG_RES_CONNECT": "server: {hr_name}; group {sin_addr}, port {sin_port}",
    "MSB_MSG_IND_EOS": "server: end of stream, {hr_name}",
    "MsbBeacon": "sender is there, {repeated} beacons",
    "MsbErrorCorrection": "{parity} parity packets: {restored} packets restored, {beyond_repair} cycles "
    "beyond repair; {repeated} packets repeated, {late} too late",
    "StationFile": "station file: {name} at {address}, port {port}",
    "StationsDisagree": "station files give different headers for stream {wStreamID}: none is taken",
    "WmspMetadata": "$M: entry {playlist_gen_id}[, {features}][; {text}]",
    "RtspRequest": "{operation}: {method} {target}[ by {agent}]",
    "RtspResponse": "{status}[ {reason}] to {method}[, {server}]",
    "RtspChallenge": "server asks who it is[: {schemes}]",
    "RtspDescription": "description of the content: header of {header_size} bytes, "
    "packets of {packet_size} bytes",
    "RtspBody": "{content_type}, {length} bytes",
    "RtspEndOfStream": "server: end of stream, {notice}",
    "RtpLoss": "{rtp_packets} RTP packets are missing, with them {packets} media packets at least",
    "RtpRepeated": "{packets} RTP packets came again",
    "RtpUnsound": "{packets} RTP packets hold no payload format header of ASF",
    "RtpUnknownSource": "{packets} RTP packets of sources that carry no ASF packets",
    "RtpForwardErrorCorrection": "{packets} packets of forward error correction, not used",
    "RtcpSenderReport": "server has sent {packets} packets, {octets} bytes",
    "RtcpReceiverReport": "player reports on what it received",
    "RtcpNack": "player asks for packets {lost} again",
    "RtcpBye": "sources end[: {reason}]",
    "RtcpPayloadFeedback": "feedback on the payload, format {format}",
    "PacketPair": "packet-pair probe, {packets} packets",
    "Gap": "{length} bytes of the stream were not captured",
    "OverlapConflict": "{length} bytes were sent twice, differently; those of frame {kept_frame} were kept",
    "Malformed": "{length} bytes passed over: expected {expected}, found {found}",
    "StreamEnd": "the {side} ends: {reason}",
    "MediaWithoutHeader": "{packets} media packets whose header was not captured",
    "LatePackets": "{packets} packets of the content before, too late for it, were left out",
    "PacketTooLarge": "{packets} packets larger than the header allows were left out",
}
"""What an event reads like; what stands in brackets is left out where a field in it is empty or not there."""

OPTIONAL = re.compile(r"\[([^][]*)\]")
FIELD = re.compile(r"\{(\w+)")

HRESULTS: dict[int, str] = {
    0x00000000: "ok",
    0x00000001: "S_FALSE",
    0x000D2F09: "NS_S_EOS_RECEDING",
    0x400D14BE: "moving to the previous entry",
    0x80070002: "file not found",
    0x80070003: "path not found",
    0x80070005: "access denied",
    0x80070057: "bad parameter",
    0x8000FFFF: "unexpected failure",
    0xC00D000E: "network busy",
    0xC00D000F: "too many sessions",
    0xC00D0013: "no timely response",
    0xC00D001A: "file not found",
    0xC00D0029: "connection lost",
    0xC00D0034: "no more data",
}
"""HRESULTs met most often in the hr fields of MS-MMSP and the reasons of MS-WMSP, in words."""


def hresult_name(value: object) -> str:
    """Name an HRESULT: in words, else by its symbol; an unknown one is shown in hex."""
    if not isinstance(value, int):
        return ""
    return HRESULTS.get(value) or NS_NAMES.get(value) or WIN32_NAMES.get(value) or f"0x{value:08X}"


class _Lenient(dict[str, object]):
    def __missing__(self, key: str) -> str:
        return "?"


def summarise(event: str, details: Mapping[str, object]) -> str:
    """One line for an event; a field that is not there, or null, and not optional reads ``?``."""
    template = TEMPLATES.get(event)
    if template is None:
        return event
    known = {name: told(value) for name, value in details.items() if value is not None}
    if isinstance(details.get("clientLog"), Mapping):
        known.update(details["clientLog"])  # type: ignore[call-overload]
    if "hr" in details:
        known["hr_name"] = hresult_name(details["hr"])
    if details.get("complete") is not None:
        known["whole"] = "whole" if details["complete"] else "not whole"

    def chosen(part: re.Match[str]) -> str:
        return part[1] if all(known.get(name, "") != "" for name in FIELD.findall(part[1])) else ""

    return " ".join(OPTIONAL.sub(chosen, template).format_map(_Lenient(known)).split())


def told(value: object) -> object:
    """A value as a sentence holds it: lists with commas, nothing for null in them, floats in 12 digits."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(str(told(v)) for v in value)
    return f"{value:.12g}" if isinstance(value, float) else value


def plain(value: object) -> object:
    """A field's value as JSON can hold it: bytes in hex, numbers beyond JSON as text."""
    if value is None or isinstance(value, str | int):  # nearly all are
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and (not math.isfinite(value) or abs(value) > 1e300):
        return repr(value)
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value
