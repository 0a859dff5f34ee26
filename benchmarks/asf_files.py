"""What reading an ASF file costs, beside mutagen, hachoir and ``ffprobe -show_packets``.

``python benchmarks/asf_files.py [--megabytes 500] [--repeat 5] [--keep FOLDER]`` prints the tables of
`docs/performance.md`. The file is the packets of a real encoder's file, again and again. Times are processor
time of one process, user and system, the least of several runs: what others do on the machine then counts
little. A reader that is not installed is named and left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mmsforensics import asf

SOURCE = Path(__file__).parent.parent / "tests" / "asf" / "files" / "tika__testWMV.wmv"
WALK_LIMIT = 1.0
"""GB/s at which the packet table must be walked."""

HACHOIR = """
import sys
from hachoir.metadata import extractMetadata
from hachoir.parser import createParser
with createParser(sys.argv[1]) as parser:
    extractMetadata(parser)
"""
MUTAGEN = "import sys; from mutagen.asf import ASF; ASF(sys.argv[1])"
OURS_TAGS = "import sys; from mmsforensics import asf; asf.open(sys.argv[1]).tags"
OURS_OBJECTS = "import sys; from mmsforensics import asf; asf.open(sys.argv[1]).media_objects()"


def made(megabytes: int, folder: Path) -> Path:
    """Make the file, and see to it that it is in the page cache."""
    path = folder / f"benchmark-{megabytes}.wmv"
    with asf.open(SOURCE) as source:
        header, packets = source.header, source.packet_bytes().tobytes()
        count = megabytes * 10**6 // len(packets)
        head = bytearray(source.raw(0, header.data_offset))
        properties = next(item.offset for item in source.walk() if item.name == "File Properties")
        total = source.packet_count * count
    size = 50 + count * len(packets)
    struct.pack_into("<Q", head, header.size + 16, size)
    struct.pack_into("<Q", head, header.size + 40, total)
    struct.pack_into("<Q", head, properties + 40, header.size + size)
    struct.pack_into("<Q", head, properties + 56, total)
    with path.open("wb") as out:
        out.write(head)
        for _ in range(count):
            out.write(packets)
    path.read_bytes()
    return path


def least(work: Callable[[], object], repeat: int) -> float:
    """Processor time of a call, the least of several; one before them warms up."""
    work()
    taken = []
    for _ in range(repeat):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return min(taken)


def command(arguments: list[str], repeat: int) -> float | None:
    """Processor time of a command, the least of several; None when it is not installed."""
    if shutil.which(arguments[0]) is None:
        return None
    taken = []
    for _ in range(repeat):
        with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            return None
        taken.append(usage.ru_utime + usage.ru_stime)
    return min(taken)


def tables(path: Path, repeat: int) -> None:
    """Print how fast the tables of a file are made."""
    size = path.stat().st_size / 1e9
    calls: dict[str, Callable[[asf.AsfFile], object]] = {
        "`packet_heads()`, heads of packets": lambda file: file.packet_heads(),
        "`packets()`, packets with all payloads walked": lambda file: file.packets(),
        "`payloads()`": lambda file: file.payloads(),
        "`media_objects()`": lambda file: file.media_objects(),
    }
    print(f"### Tables of a file of {size:.2f} GB, one core, page cache\n")
    print("| table | rows | s | GB/s |\n|---|---|---|---|")
    speeds = []
    for name, call in calls.items():
        with asf.open(path) as file:
            rows = len(call(file))  # type: ignore[arg-type]

        def work(call: Callable[[asf.AsfFile], object] = call) -> None:
            with asf.open(path) as opened:  # opened anew, so that its pages are mapped anew
                call(opened)

        seconds = least(work, repeat)
        speeds.append(size / seconds)
        print(f"| {name} | {rows:,} | {seconds:.3f} | {size / seconds:.2f} |")
    held = "held" if speeds[1] >= WALK_LIMIT else "**not held**"
    print(f"\nPacket table with payload walk: {speeds[1]:.2f} GB/s, wanted {WALK_LIMIT:g}: {held}")


def readers(path: Path, repeat: int) -> None:
    """Print what whole processes of several readers take for the same file."""
    python = sys.executable
    print("\n### Whole processes, starting included\n")
    print("| reader | gives | s | × ours |\n|---|---|---|---|")
    for what, ours, peers in (
        (
            "tags",
            [python, "-c", OURS_TAGS, str(path)],
            {"mutagen": [python, "-c", MUTAGEN, str(path)], "hachoir": [python, "-c", HACHOIR, str(path)]},
        ),
        (
            "media objects",
            [python, "-c", OURS_OBJECTS, str(path)],
            {"ffprobe -show_packets": ["ffprobe", "-v", "quiet", "-show_packets", "-of", "csv", str(path)]},
        ),
    ):
        mine = command(ours, repeat)
        assert mine is not None
        print(f"| mmsforensics | {what} | {mine:.2f} | 1 |")
        for name, arguments in peers.items():
            installed = name.startswith("ffprobe") or importlib.util.find_spec(name)
            seconds = command(arguments, repeat) if installed else None
            told = "not installed | -" if seconds is None else f"{seconds:.2f} | {seconds / mine:.2f}"
            print(f"| {name} | {what} | {told} |")


def tags(repeat: int) -> None:
    """Print what reading tags takes in a process that runs already."""
    if importlib.util.find_spec("mutagen") is None:
        return
    from mutagen.asf import ASF

    ours = least(lambda: [asf.open(SOURCE).close() for _ in range(200)], repeat) / 200
    theirs = least(lambda: [ASF(SOURCE) for _ in range(200)], repeat) / 200
    print(
        f"\nOne file in a running process: header, tree, streams and tags {ours * 1e3:.2f} ms; mutagen, tags "
        f"only, {theirs * 1e3:.2f} ms."
    )


def main() -> None:
    """Make the file, run everything, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="folder for the file, which is then kept")
    given = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    with tempfile.TemporaryDirectory() as folder:
        path = made(given.megabytes, given.keep or Path(folder))
        tables(path, given.repeat)
        readers(path, given.repeat)
    tags(given.repeat)


if __name__ == "__main__":
    main()
