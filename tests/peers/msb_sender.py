"""A sender of MS-MSB and MS-MSBD, and the station file that goes with it, from the specifications alone.

Packets are those of an `AsfFile`. What is returned is what the sender knows that it sent.
"""

import ipaddress
import random
import struct
from dataclasses import dataclass, field

from builders import MAC_A, ethernet, ip, udp

from .asf_file import strip_padding

GROUP = ("239.192.48.179", 0x4A41)
SENDER = ("192.0.2.10", 50000)
START = 1_700_000_000_000_000_000
STEP = 20_000_000  # ns between datagrams

BEACON = b"MSB "
CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz{}"  # [MS-MSB 2.2.1.3.2]

# --- station files ---------------------------------------------------------------------------------


def encoded(data, key=0, *, crc=None):
    """An encoded block [MS-MSB 2.2.1.3]: six bits a character, zero bits behind; `crc` overrides."""
    head = struct.pack(">II", key, len(data))
    total = 0
    for byte in head + data:
        total ^= byte
    bits = "".join(f"{byte:08b}" for byte in bytes([total if crc is None else crc]) + head + data)
    bits += "0" * (-len(bits) % 6)
    return "02" + "".join(CHARACTERS[int(bits[i : i + 6], 2)] for i in range(0, len(bits), 6))


def text(value, *, encode=False):
    """A string property [MS-MSB 2.2.1.2]."""
    return encoded((value + "\0").encode("utf-16-le")) if encode else value


def station_file(
    formats,
    *,
    group=GROUP,
    name="SERVER, station",
    adapter=SENDER[0],
    encode=False,
    log_url="http://192.0.2.10/nsc/log.dll",
    unicast_url="mms://192.0.2.10/station",
    descriptions=(),
    ecc=10,
    crc=None,
):
    """A station file [MS-MSB 2.2.1.1]; `formats` is (Format ID, ASF header) of each format."""
    lines = [
        "[Address]",
        f"Name={text(name, encode=encode)}",
        f"NSC Format Version={text('3.0', encode=encode)}",
        f"Multicast Adapter={text(adapter, encode=encode)}",
        f"IP Address={text(group[0], encode=encode)}",
        f"IP Port=0x{group[1]:08X}",
        "Time To Live=0x00000020",
        f"Default Ecc=0x{ecc:08X}",
        f"Log URL={text(log_url, encode=encode)}",
        f"Unicast URL={text(unicast_url, encode=encode)}",
        "Allow Splitting=0x00000001",
        "Allow Caching=0x00000001",
        "Cache Expiration Time=0x00015180",
        "Network Buffer Time=0x000001F4",
        "[Formats]",
    ]
    for i, (format_id, header) in enumerate(formats, 1):
        lines.append(f"Format{i}={encoded(header, format_id, crc=crc)}")
        if i <= len(descriptions):
            lines.append(f"Description{i}={text(descriptions[i - 1], encode=encode)}")
    return ("\r\n".join(lines) + "\r\n").encode("ascii")


# --- packets ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sent:
    """One MSB packet."""

    packet_id: int
    stream_id: int
    asf: bytes = field(repr=False)
    parity: bool = False

    @property
    def datagram(self):
        """The packet as it goes out [MS-MSB 2.2.4]."""
        return struct.pack("<IHH", self.packet_id, self.stream_id, 8 + len(self.asf)) + self.asf

    @property
    def message(self):
        """The same in an MSB_MSG_IND_PACKET [MS-MSBD 2.2.10]."""
        return message(10, self.datagram)


def with_error_correction(packet, number, cycle, *, low_type=True, type_=1, opaque=False):
    """An ASF packet with its error correction data set [ASF 5.2.1, MS-MSB 2.2.2]."""
    assert packet[0] & 0xEF == 0x82
    number &= 0x0F  # 16 does not fit
    code = (number << 4 | type_) if low_type else (type_ << 4 | number)
    return bytes([packet[0] & 0xEF | opaque << 4, code, cycle % 256]) + packet[3:]


def parity_of(packets):
    """XOR of what lies behind the error correction data, zeros behind shorter packets."""
    longest = max(len(p) for p in packets)
    out = bytearray(longest - 3)
    for packet in packets:
        for i, byte in enumerate(packet[3:].ljust(longest - 3, b"\0")):
            out[i] ^= byte
    return b"\x82\x00\x00" + bytes(out)


def entry(
    asf,
    stream_id,
    *,
    first_id=0,
    span=10,
    first_cycle=0,
    strip=True,
    numbers=True,
    low_type=True,
    packets=None,
):
    """The MSB packets of one playlist entry: a parity packet behind every `span` packets, none behind fewer.

    `numbers` False sets Number to 1 everywhere, as a server may; `span` 0 is without error correction.
    """
    out, cycle, waiting = [], first_cycle, []
    for i in range(len(asf.packets) if packets is None else packets):
        packet = strip_padding(asf.packets[i], "zero-field") if strip else asf.packets[i]
        packet_id = (first_id + i) % 2**32
        if not span:
            out.append(Sent(packet_id, stream_id, packet))
            continue
        number = len(waiting) + 1 if numbers else 1
        waiting.append(with_error_correction(packet, number, cycle, low_type=low_type))
        out.append(Sent(packet_id, stream_id, waiting[-1]))
        if len(waiting) == span:
            number = span + 1 if numbers else 1
            parity = with_error_correction(
                parity_of(waiting), number, cycle, low_type=low_type, type_=2, opaque=True
            )
            out.append(Sent(packet_id, stream_id, parity, parity=True))
            waiting, cycle = [], cycle + 1
    return out


def media(sent):
    """The data packets among those sent."""
    return [s for s in sent if not s.parity]


def faithful(header, packet_size, sent):
    """What a faithful recovery holds: header, then the packets zero-padded to the packet size."""
    return header + b"".join(s.asf.ljust(packet_size, b"\0") for s in media(sent))


def frames(datagrams, *, sender=SENDER, group=GROUP, start_ns=START, step_ns=STEP):
    """Frames of datagrams to a group, as (frame, ts in ns); groups have their own MAC [RFC 1112, 2464]."""
    out = []
    for i, data in enumerate(datagrams):
        packet = ip(sender[0], group[0], 17, udp(sender[0], group[0], sender[1], group[1], data))
        address = ipaddress.ip_address(group[0]).packed
        mac = b"\x01\x00\x5e" + bytes([address[1] & 0x7F]) + address[2:]
        if len(address) == 16:
            mac = b"\x33\x33" + address[-4:]
        out.append((ethernet(packet, src=MAC_A, dst=mac).ljust(60, b"\0"), start_ns + i * step_ns))
    return out


def disturbed(sent, seed, *, lost=0.0, doubled=0.0, shift=0):
    """What arrives: some lost, some twice, some overtaken by up to `shift` places."""
    rng = random.Random(seed)
    arrived = [s for s in sent if rng.random() >= lost]
    arrived += [s for s in arrived if rng.random() < doubled]
    place = {id(s): i for i, s in enumerate(sent)}
    keyed = [(place[id(s)] + rng.uniform(0, shift), i, s) for i, s in enumerate(arrived)]
    return [s for _, _, s in sorted(keyed, key=lambda k: k[:2])]


# --- MS-MSBD ---------------------------------------------------------------------------------------

MULTICAST, UNICAST = 2, 1


def message(mid, body=b"", *, hr=0, version=0x0106):
    """A message behind its MSBMSGBASE [MS-MSBD 2.2.1]."""
    return b"MSB " + struct.pack("<HHII", version, mid, 16 + len(body), hr) + body


def req_connect(flags=UNICAST, channel="NetShow"):
    return message(7, struct.pack("<I", flags) + channel.encode("utf-16-le"))


def res_connect(*, flags=0, group=None, hr=0):
    if group is None:
        return message(8, struct.pack("<I", flags) + bytes(16), hr=hr)
    address = bytes(int(b) for b in group[0].split("."))
    body = struct.pack("<IH", flags, 2) + struct.pack(">H", group[1]) + address + bytes(8)
    return message(8, body, hr=hr)


def stream_info(
    stream_id, header=b"", *, packet_size=0, total=0, title="", mid=5, hr=0, bit_rate=0, duration=0xFFFFFFFF
):
    """MSB_MSG_IND_STREAMINFO, or with `mid` 4 MSB_MSG_RES_STREAMINFO; empty by default [3.1.5.3]."""
    raw = title.encode("utf-16-le")
    head = struct.pack("<HHIII", stream_id, packet_size, total, bit_rate, duration)
    sizes = struct.pack("<IIII", len(raw), 0, 0, len(header))
    return message(mid, head + sizes + raw + header, hr=hr)


END = message(9)
EMPTY_STREAM_INFO = stream_info(0, duration=0, hr=0xC00D0033)
REQ_PING, RES_PING, REQ_STREAMINFO = message(1), message(2), message(3)


def session(entries, asf_files, *, ping=False):
    """An MSBD conversation over TCP: entries are lists of `Sent`, each with its `AsfFile`."""
    out = [("c", req_connect()), ("s", res_connect())]
    for sent, asf in zip(entries, asf_files, strict=True):
        out.append(
            (
                "s",
                stream_info(
                    sent[0].stream_id,
                    asf.header,
                    packet_size=asf.packet_size,
                    total=len(asf.packets),
                    title="Live",
                ),
            )
        )
        for i, packet in enumerate(sent):
            out.append(("s", packet.message))
            if ping and i == len(sent) // 2:
                out += [("s", REQ_PING), ("c", RES_PING)]
    return [*out, ("s", END), ("s", EMPTY_STREAM_INFO)]
