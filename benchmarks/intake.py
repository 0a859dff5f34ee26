"""What reading evidence costs beside hashing it: marginal cost, start-up, memory, stages.

``python benchmarks/intake.py [--gigabytes 1] [--repeat 5] [--keep FOLDER]`` prints the tables of
`docs/performance.md`. Each capture is made in two sizes, one three times the other: the difference is the
cost of the evidence itself, without that of starting. Commands take turns, so that a slow moment of the
machine meets all of them.
"""

from __future__ import annotations

import argparse
import gzip
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from captures import GIGABYTE, KINDS
from numba import njit
from run import Timing, timed

from mmsforensics.evidence import open_evidence, pcap
from mmsforensics.packets import PACKET, CaptureScan, PacketBatch
from mmsforensics.packets.scan_pass import pcap_pass
from mmsforensics.streams import FlowTable, TcpReassembler

LIMITS = {"ordinary": 1.2, "small": 2.0}
"""Marginal cost of `analyze` as a multiple of the yardstick's."""

GZIP_LIMIT = 1.3
START_LIMIT_S = 1.5
MEMORY_LIMIT_MB = 400
PEERS = {"tshark -q -z io,phs": 20, "tcpflow": 5}
"""How many times faster than these."""

TOOL = str(Path(sys.executable).with_name("mmsforensics"))


def held(value: float, limit: float) -> str:
    """Whether a limit is held, in words."""
    return f"{value:.2f}, allowed {limit:g}: {'held' if value <= limit else '**not held**'}"


def in_turns(commands: dict[str, list[str]], repeat: int, before: list[Path]) -> dict[str, Timing | None]:
    """Time commands, each once a round; those that are not installed are None."""
    rounds: dict[str, list[Timing]] = {name: [] for name in commands}
    for _ in range(repeat):
        for name, command in commands.items():
            timing = timed(command, 1, before)
            if timing is not None:
                rounds[name].append(timing)
    return {name: summed(timings) if timings else None for name, timings in rounds.items()}


def summed(timings: list[Timing]) -> Timing:
    """Median and range of single runs."""
    seconds = [t.seconds for t in timings]
    return Timing(statistics.median(seconds), min(seconds), max(seconds), max(t.peak_mb for t in timings))


def make(kind: str, gigabytes: float, folder: Path) -> Path:
    """A capture of a kind, read once so that it is in the page cache."""
    path = folder / f"{kind}-{gigabytes:g}.pcap"
    if not path.exists():
        KINDS[kind](path, int(gigabytes * GIGABYTE))
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass
    return path


def marginal(kind: str, gigabytes: float, repeat: int, folder: Path, work: Path) -> None:
    """Print what three times as much evidence costs more, for us and for the yardstick."""
    small, large = (make(kind, size, folder) for size in (gigabytes, 3 * gigabytes))
    case = work / "case"
    commands = {}
    for name, path in (("small", small), ("large", large)):
        commands[f"openssl {name}"] = ["openssl", "dgst", "-sha256", str(path)]
        commands[f"ours {name}"] = [TOOL, "analyze", str(path), "--out", str(case), "--quiet"]
    t = in_turns(commands, repeat, [case])
    print(f"\n### {kind}, {gigabytes:g} and {3 * gigabytes:g} GB\n")
    print("| command | s (median; least to most) | peak MB |\n|---|---|---|")
    for name, timing in t.items():
        assert timing is not None
        span = f"{timing.low:.2f} to {timing.high:.2f}"
        print(f"| {name} | {timing.seconds:.2f} ({span}) | {timing.peak_mb:.0f} |")
    ours, yardstick = (
        t[f"{who} large"].seconds - t[f"{who} small"].seconds
        for who in ("ours", "openssl")  # type: ignore[union-attr]
    )
    ratio = held(ours / yardstick, LIMITS[kind])
    print(f"\nMarginal cost, × yardstick: {ratio} ({ours:.2f} s to {yardstick:.2f} s)")
    peaks = [t[f"ours {name}"].peak_mb for name in ("small", "large")]  # type: ignore[union-attr]
    print(f"\nPeak memory, MB: {held(max(peaks), MEMORY_LIMIT_MB)} ({peaks[0]:.0f} and {peaks[1]:.0f})")


def start_up(repeat: int, work: Path) -> None:
    """Print what an analysis of next to nothing takes."""
    sample = Path(__file__).parents[1] / "sample_data" / "mmst_small_packets_split_header.pcap"
    timing = timed([TOOL, "analyze", str(sample), "-o", str(work / "case"), "-q"], repeat, [work / "case"])
    assert timing is not None
    print(f"\nStart-up of `analyze` with a warm cache, s: {held(timing.seconds, START_LIMIT_S)}")


def peers(capture: Path, work: Path, repeat: int) -> None:
    """Print how many times faster `analyze` is than other programs that read the whole capture."""
    case, flows = work / "case", work / "flows"
    ours = timed([TOOL, "analyze", str(capture), "--out", str(case), "--quiet"], repeat, [case])
    assert ours is not None
    for name, limit in PEERS.items():
        command = ["tshark", "-r", str(capture), "-q", "-z", "io,phs"]
        if name == "tcpflow":
            command = ["tcpflow", "-q", "-r", str(capture), "-o", str(flows)]
        timing = timed(command, 1, [flows])
        if timing is None:
            print(f"\n{name}: not installed")
            continue
        times = timing.seconds / ours.seconds
        word = "held" if times >= limit else "**not held**"
        print(f"\n{times:.1f} × faster than {name} ({timing.seconds:.1f} s), wanted {limit}: {word}")
        shutil.rmtree(flows, ignore_errors=True)


def compressed(capture: Path, work: Path, repeat: int, folder: Path) -> None:
    """Print what a gzip capture costs beside unpacking and hashing it."""
    packed = folder / f"{capture.name}.gz"
    if not packed.exists():
        with capture.open("rb") as source, gzip.open(packed, "wb", compresslevel=6) as target:
            shutil.copyfileobj(source, target, 1 << 20)
    case = work / "case"
    t = in_turns(
        {
            "ours": [TOOL, "analyze", str(packed), "--out", str(case), "--quiet"],
            "pipe": ["sh", "-c", f"gzip -dc '{packed}' | openssl dgst -sha256"],
        },
        repeat,
        [case],
    )
    assert t["ours"] is not None
    assert t["pipe"] is not None
    ratio = t["ours"].seconds / t["pipe"].seconds
    print(f"\ngzip, × `gzip -dc FILE | openssl dgst -sha256`: {held(ratio, GZIP_LIMIT)}")
    print(f"({t['ours'].seconds:.2f} s to {t['pipe'].seconds:.2f} s, {t['ours'].peak_mb:.0f} MB)")


@njit
def walk(data):
    """Go from record to record, as the pass does, and nothing else."""
    pos, n = 24, 0
    while pos < len(data):
        if pcap.check_record(data, pos, False, False, 262_144, 16) != pcap.OK:
            break
        pos += 16 + pcap.lengths(data, pos, False, False)[0]
        n += 1
    return n


def stages(capture: Path, media: Path) -> None:
    """Print the speed of each stage alone, on one core, compiled code loaded."""
    data = np.fromfile(capture, np.uint8, count=200_000_000)
    room = np.zeros(2_500_000, PACKET)
    limit = (262_144, 1, 16)
    count, end, _ = pcap_pass(data, 24, len(data), room, 0, False, False, 1000, *limit)
    rows, size = room[:count], int(end)
    batch = PacketBatch(rows, data, 0)
    table: list[tuple[str, Callable[[], object]]] = [
        ("record walk", lambda: walk(data)),
        (
            "record walk and header decode",
            lambda: pcap_pass(data, 24, len(data), room, 0, False, False, 1000, *limit),
        ),
    ]
    print(f"\n### Stages, {capture.name}\n\n| stage | packets/s | GB/s |\n|---|---|---|")
    for name, run in table:
        seconds = best(run)
        print(f"| {name} | {count / seconds / 1e6:.1f} million | {size / seconds / 1e9:.1f} |")
    pcap_pass(data, 24, len(data), room, 0, False, False, 1000, *limit)
    seconds = best(lambda: list(FlowTable().feed(batch)))
    print(f"| flow tracking | {count / seconds / 1e6:.1f} million | {size / seconds / 1e9:.1f} |")
    with open_evidence(media) as evidence:
        batch = next(iter(CaptureScan(evidence, hashing=False, window=100_000_000)))
        server = batch.rows[(batch.rows["src_port"] == 1755) & (batch.rows["payload_len"] > 0)]
        start = server["offset"].astype(np.int64) - batch.base + server["payload"]
        seconds = best(lambda: TcpReassembler().push(server, batch.data, start))
        size = int(server["payload_len"].sum())
    print(f"| reassembly | {len(server) / seconds / 1e6:.1f} million | {size / seconds / 1e9:.1f} |")


def best(run: Callable[[], object]) -> float:
    """Seconds of the fastest of five runs, the first left out."""
    run()
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def main() -> None:
    """Make the captures, run everything, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="folder for the captures, which are then kept")
    given = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(prefix="mmsforensics-bench-") as name:
        work = Path(name)
        folder = given.keep or work
        folder.mkdir(parents=True, exist_ok=True)
        start_up(given.repeat, work)
        for kind in LIMITS:
            marginal(
                kind,
                given.gigabytes if kind == "ordinary" else given.gigabytes / 2,
                given.repeat,
                folder,
                work,
            )
        ordinary = make("ordinary", given.gigabytes, folder)
        peers(ordinary, work, given.repeat)
        compressed(ordinary, work, given.repeat, folder)
        stages(ordinary, make("media", given.gigabytes, folder))
        stages(make("small", given.gigabytes / 2, folder), make("media", given.gigabytes, folder))


if __name__ == "__main__":
    main()
