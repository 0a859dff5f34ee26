"""Run the benchmarks: everything in one go on the same files, ratios against ``openssl dgst -sha256``.

``python benchmarks/run.py [--gigabytes 1] [--repeat 3] [--keep FOLDER]`` prints Markdown tables. Captures
are made first, and each file is read once before it is timed, so that all tools find it in the page cache. A
tool that is not installed is named and left out.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from captures import GIGABYTE, KINDS

LIMITS = {"ordinary": 3.0, "media": 8.0}
"""What `analyze` may take, as a multiple of the yardstick."""
DENSE_LIMIT = 2.5
"""What the second gigabyte of a capture of hundreds of sessions may cost, as a multiple of the yardstick."""
DENSE_KINDS = ("dense", "complete")
SETTLE_S = 10.0
"""Pause before each of these runs: gigabytes that were just removed keep a virtual machine busy."""
MEMORY_LIMIT_MB = 500
DENSE_MEMORY_LIMIT_MB = 550
"""The fast path of reassembly holds 128 MB of them."""
HELP_LIMIT_S = 0.3


@dataclass(frozen=True, slots=True)
class Timing:
    """Wall clock and peak memory of runs of one command."""

    seconds: float
    """Median."""
    low: float
    high: float
    peak_mb: float


ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Byte code is kept, as it is on any machine by default."""


def timed(command: list[str], repeat: int, before: list[Path], pause_s: float = 0) -> Timing | None:
    """Run a command several times; None when it is not installed.

    `before` is removed before each run, which then waits for `pause_s`.
    """
    if shutil.which(command[0]) is None:
        return None
    seconds, peak = [], 0.0
    for _ in range(repeat):
        for path in before:
            shutil.rmtree(path, ignore_errors=True)
        time.sleep(pause_s)
        begun = time.perf_counter()
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT
        ) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds.append(time.perf_counter() - begun)
        peak = max(peak, usage.ru_maxrss / 1024)
        if process.returncode != 0:
            raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return Timing(statistics.median(seconds), min(seconds), max(seconds), peak)


def commands(capture: Path, work: Path) -> dict[str, list[str]]:
    """The commands that are timed on a capture, by name; the yardstick first."""
    tool = str(Path(sys.executable).with_name("mmsforensics"))
    return {
        "openssl dgst -sha256": ["openssl", "dgst", "-sha256", str(capture)],
        "mmsforensics analyze": [tool, "analyze", str(capture), "--out", str(work / "case"), "--quiet"],
        "sha256sum": ["sha256sum", str(capture)],
        "tcpflow": ["tcpflow", "-q", "-r", str(capture), "-o", str(work / "flows")],
        "tshark -q -z io,phs": ["tshark", "-r", str(capture), "-q", "-z", "io,phs"],
    }


def report(kind: str, size: int, timings: dict[str, Timing | None]) -> None:
    """Print the table of one capture."""
    yardstick = timings["openssl dgst -sha256"]
    if yardstick is None:
        raise SystemExit("openssl, the yardstick, is not installed")
    print(f"\n### {kind}, {size / GIGABYTE:.2f} GB\n")
    print("| command | seconds (median; least to most) | × yardstick | GB/s | peak memory, MB |")
    print("|---|---|---|---|---|")
    for name, timing in timings.items():
        if timing is None:
            print(f"| {name} | not installed | | | |")
            continue
        print(
            f"| {name} | {timing.seconds:.2f} ({timing.low:.2f} to {timing.high:.2f}) "
            f"| {timing.seconds / yardstick.seconds:.2f} | {size / GIGABYTE / timing.seconds:.2f} "
            f"| {timing.peak_mb:.0f} |"
        )
    ours = timings["mmsforensics analyze"]
    if ours is not None and kind in LIMITS:
        ratio = ours.seconds / yardstick.seconds
        held = ratio <= LIMITS[kind] and ours.peak_mb < MEMORY_LIMIT_MB
        print(
            f"\nAllowed: {LIMITS[kind]:.0f} × and {MEMORY_LIMIT_MB} MB: **{'held' if held else 'not held'}** "
            f"({ratio:.2f} ×, {ours.peak_mb:.0f} MB)."
        )


def made(kind: str, gigabytes: float, folder: Path) -> Path:
    """Make a capture, unless it is there, and see to it that it is in the page cache."""
    capture = folder / f"{kind}-{gigabytes:g}.pcap"
    if not capture.exists():
        KINDS[kind](capture, int(gigabytes * GIGABYTE))
    with capture.open("rb") as file:
        while file.read(1 << 24):
            pass
    return capture


def dense(kind: str, gigabytes: float, repeat: int, folder: Path, work: Path) -> None:
    """Print what a dense capture costs: twice as much less once as much, so that starting does not count."""
    size = (gigabytes, 2 * gigabytes)
    captures = [made(kind, g, folder) for g in size]
    print(f"\n### {kind}, {size[0]:g} and {size[1]:g} GB, 300 sessions\n")
    print("| command | seconds (median; least to most) | peak memory, MB |\n|---|---|---|")
    more, peaks = {}, []
    for name in ("openssl dgst -sha256", "mmsforensics analyze"):
        taken = [timed(commands(c, work)[name], repeat, [work / "case"], pause_s=SETTLE_S) for c in captures]
        for g, timing in zip(size, taken, strict=True):
            if timing is None:
                raise SystemExit(f"{name} is not installed")
            span = f"{timing.low:.2f} to {timing.high:.2f}"
            print(f"| {name}, {g:g} GB | {timing.seconds:.2f} ({span}) | {timing.peak_mb:.0f} |")
            peaks.append(timing.peak_mb)
        more[name] = taken[1].seconds - taken[0].seconds  # type: ignore[union-attr]
    yardstick, ours = more.values()
    held = ours <= DENSE_LIMIT * yardstick and max(peaks) <= DENSE_MEMORY_LIMIT_MB
    print(
        f"\nMarginal cost {ours / yardstick:.2f} × yardstick, {max(peaks):.0f} MB; allowed {DENSE_LIMIT} × "
        f"and {DENSE_MEMORY_LIMIT_MB} MB: **{'held' if held else 'not held'}**."
    )


def main() -> None:
    """Make the captures, run everything, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["ordinary", "media", *DENSE_KINDS])
    parser.add_argument("--keep", type=Path, help="folder for the captures, which are then kept")
    given = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(prefix="mmsforensics-bench-") as name:
        work = Path(name)
        folder = given.keep or work
        folder.mkdir(parents=True, exist_ok=True)
        tool = str(Path(sys.executable).with_name("mmsforensics"))
        sample = Path(__file__).parents[1] / "sample_data"
        subprocess.run([tool, "analyze", str(sample), "-o", str(work / "warm"), "-q"], check=True)
        begun = timed([tool, "--help"], 5, [])
        if begun is not None:
            held = "held" if begun.seconds < HELP_LIMIT_S else "not held"
            print(f"\n`mmsforensics --help`: {begun.seconds:.2f} s, allowed {HELP_LIMIT_S} s: {held}")
        for kind in given.kinds:
            if kind in DENSE_KINDS:
                dense(kind, given.gigabytes, given.repeat, folder, work)
                continue
            capture = made(kind, given.gigabytes, folder)
            timings = {
                tool: timed(
                    command, given.repeat if "tshark" not in tool else 1, [work / "case", work / "flows"]
                )
                for tool, command in commands(capture, work).items()
            }
            report(kind, capture.stat().st_size, timings)


if __name__ == "__main__":
    main()
