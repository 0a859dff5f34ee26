"""Conversations as capture files: a relay that keeps what passes, and frames for what was kept."""

import contextlib
import itertools
import select
import socket
import threading
import time

from builders import ACK, FIN, MAC_A, MAC_B, PSH, RST, SYN, ethernet, ipv4, tcp, write_pcap
from perturb import segment

from .tcp_server import TIMEOUT, TcpServer

START = 1_700_000_000_000_000_000  # ns since the epoch, if nothing else is said
STEP = 20_000  # ns between the frames of one message
PAUSE = 1_000_000  # ns between messages which have no time of their own


def coalesce(conversation):
    """Merge neighbouring messages of one side, as a busy TCP sender does: frames then cut units anywhere."""
    return [
        (side, b"".join(item[1] for item in run))
        for side, run in itertools.groupby(conversation, key=lambda item: item[0])
    ]


class _Side:
    """One end of a connection: its address, the next sequence number, what it has acknowledged."""

    def __init__(self, address, mac, isn):
        self.address, self.mac, self.seq, self.ack, self.ip_id = address, mac, isn, 0, isn % 60000


def frames_of(
    conversation, *, client=("192.0.2.20", 40001), server=("192.0.2.10", 1755), start_ns=START, mss=1460
):
    """Frames of one whole TCP connection, as (frame, ts in ns).

    Handshake, payload cut at `mss`, an ACK for every second segment and for the last of a message, FINs from
    the client's side. Items are (side, bytes) or (side, bytes, ts in ns); times never go back.
    """
    ends = {
        "c": _Side(client, MAC_A, 1000 + client[1]),
        "s": _Side(server, MAC_B, 900_000_000 + client[1]),
    }
    out, now = [], start_ns

    def send(side, flags, payload=b"", options=b""):
        nonlocal now
        me, peer = ends[side], ends["s" if side == "c" else "c"]
        ack = me.ack if flags & ACK else 0
        (src, sport), (dst, dport) = me.address, peer.address
        segment = tcp(src, dst, sport, dport, me.seq, ack, flags, payload, options=options)
        packet = ipv4(src, dst, 6, segment, ip_id=me.ip_id)
        out.append((ethernet(packet, src=me.mac, dst=peer.mac).ljust(60, b"\0"), now))
        now += STEP
        me.ip_id = (me.ip_id + 1) % 65536
        me.seq = (me.seq + len(payload) + bool(flags & (SYN | FIN))) % 2**32
        peer.ack = me.seq

    mss_option = b"\x02\x04" + mss.to_bytes(2, "big")
    send("c", SYN, options=mss_option)
    send("s", SYN | ACK, options=mss_option)
    send("c", ACK)
    for side, data, *ts in conversation:
        now = max(now, ts[0] if ts else now + PAUSE)
        other = "s" if side == "c" else "c"
        cuts = range(0, len(data), mss)
        for i, at in enumerate(cuts):
            last = i == len(cuts) - 1
            send(side, PSH | ACK if last else ACK, data[at : at + mss])
            if i % 2 or last:
                send(other, ACK)
    now += PAUSE
    for side, flags in (("c", FIN | ACK), ("s", FIN | ACK), ("c", ACK)):
        send(side, flags)
    return out


def hung_up(frames, how, late=0):
    """The frames of one connection that ends otherwise than by two FINs.

    The client leaves while the last `late` segments of the server's are on their way: by "reset" at once, by
    "close" with a FIN, and a reset upon what still comes, as most systems do. "open": nobody ends it.
    """
    last = next(segment(frame) for frame, _ in frames if segment(frame).flags & FIN)  # the client's
    kept = [(frame, ts) for frame, ts in frames[:-1] if not segment(frame).flags & FIN]
    if how == "open":
        return kept
    data = [i for i, (frame, _) in enumerate(kept) if segment(frame).payload]
    at = data[-late] if late else len(kept)
    left = kept[at - 1][1] + STEP // 2
    behind = [(frame, ts) for frame, ts in kept[at:] if segment(frame).payload]
    if how == "reset":
        return [*kept[:at], (last.flagged(RST | ACK).frame(), left), *behind]
    refused = last.moved(1).flagged(RST | ACK).frame()
    ending = behind[-1][1] if behind else left
    return [*kept[:at], (last.frame(), left), *behind, (refused, ending + STEP // 2)]


def write_conversation(
    path,
    conversation,
    *,
    client=("192.0.2.20", 40001),
    server=("192.0.2.10", 1755),
    start_ns=START,
    mss=1460,
    merge=False,
):
    """Write one connection to a pcap file; with `merge`, neighbouring messages share segments."""
    kept = coalesce(conversation) if merge else conversation
    return write_pcap(path, frames_of(kept, client=client, server=server, start_ns=start_ns, mss=mss))


def write_conversations(
    path,
    conversations,
    *,
    client=("192.0.2.20", 40001),
    server=("192.0.2.10", 1755),
    start_ns=START,
    mss=1460,
    gap_ns=0,
    merge=False,
):
    """Write several connections, on client ports from `client` upwards, to one pcap file in order of time.

    Connection i begins i × `gap_ns` after `start_ns`; with 0 all run at once, their frames interleaved.
    """
    frames = []
    for i, conversation in enumerate(conversations):
        kept = coalesce(conversation) if merge else conversation
        at = (client[0], client[1] + i)
        frames += frames_of(kept, client=at, server=server, start_ns=start_ns + i * gap_ns, mss=mss)
    return write_pcap(path, sorted(frames, key=lambda item: item[1]))


class Recorder:
    """Relay 127.0.0.1:`port` to 127.0.0.1:`target_port` and keep each connection's bytes with their times.

    `server_port` is the server's port in the capture; default is `target_port`.
    """

    def __init__(self, target_port, server_port=None):
        self._target = target_port
        self._server_port = target_port if server_port is None else server_port
        self._lock = threading.Lock()
        self._begun = time.monotonic_ns()
        self.conversations = []  # of each connection: (side, bytes, ns since the recorder began)
        self._server = TcpServer(self._relay)
        self.port = self._server.port

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _relay(self, client):
        conversation = []
        with self._lock:
            self.conversations.append(conversation)
        with socket.create_connection(("127.0.0.1", self._target), TIMEOUT) as server:
            open_sides = {client: ("c", server), server: ("s", client)}
            while open_sides:
                ready, _, _ = select.select(list(open_sides), [], [], TIMEOUT)
                if not ready:
                    return
                for source in ready:
                    side, sink = open_sides[source]
                    try:
                        data = source.recv(65536)
                    except OSError:
                        data = b""
                    if not data:
                        del open_sides[source]
                        with contextlib.suppress(OSError):
                            sink.shutdown(socket.SHUT_WR)
                        continue
                    # kept before it is passed on: an answer can then never be older than its question
                    conversation.append((side, data, time.monotonic_ns() - self._begun))
                    try:
                        sink.sendall(data)
                    except OSError:  # the other end left; what it never got was still sent
                        return

    def wait(self, timeout=5.0):
        """Wait until the connections made so far have ended."""
        self._server.wait(timeout)

    def close(self):
        """Stop relaying."""
        self._server.close()

    def write(self, path, *, client=("192.0.2.20", 40001), server="192.0.2.10", start_ns=START, mss=1460):
        """Write all connections, on client ports from `client` upwards, to one pcap file in order of time."""
        frames = []
        for i, conversation in enumerate(list(self.conversations)):
            timed = [(side, data, start_ns + ts) for side, data, ts in list(conversation)]
            begin = max(start_ns, timed[0][2] - 4 * STEP) if timed else start_ns
            frames += frames_of(
                timed,
                client=(client[0], client[1] + i),
                server=(server, self._server_port),
                start_ns=begin,
                mss=mss,
            )
        return write_pcap(path, sorted(frames, key=lambda item: item[1]))
