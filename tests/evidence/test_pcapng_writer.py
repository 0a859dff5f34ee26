"""What is written into a pcapng file is read again, by the package and by tshark."""

import io
import subprocess

from builders import udp_frame
from hypothesis import given
from hypothesis import strategies as st

from mmsforensics.evidence import open_evidence
from mmsforensics.evidence.pcapng import NO_TIME
from mmsforensics.evidence.pcapng_writer import Interface, PcapngWriter
from mmsforensics.packets import CaptureScan

ETHERNET, COOKED = 1, 113
FRAME = udp_frame("192.0.2.1", "192.0.2.2", 1, 2, b"abc")


def written(interfaces, packets):
    file = io.BytesIO()
    writer = PcapngWriter(file, interfaces, written_by="a test", comment="a file of a test")
    for packet in packets:
        writer.packet(*packet)
    return file.getvalue()


def scanned(path):
    """(link, time, frame, bytes on the wire) of each packet, and what is wrong with the file."""
    with open_evidence(path) as evidence:
        scan, found = CaptureScan(evidence), []
        for batch in scan:
            for i, row in enumerate(batch.rows):
                found.append((int(row["link"]), int(row["ts"]), bytes(batch.frame(i)), int(row["wirelen"])))
        return found, scan.summary


packets = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.integers(-(2**61), 2**62),
        st.binary(max_size=70),
        st.integers(0, 100),
        st.text(st.characters(codec="utf-8"), max_size=9),
    ),
    min_size=1,
    max_size=8,
)


@given(packets)
def test_what_is_written_is_read(tmp_path_factory, packets):
    """Before 1970 too, and with any text as a comment."""
    firsts = [min((p[1] for p in packets if p[0] == n), default=0) for n in (0, 1)]
    interfaces = [Interface(ETHERNET, "c001", "é", firsts[0]), Interface(COOKED, "c002", "", firsts[1])]
    packets = [(n, ts, frame, len(frame) + more, said) for n, ts, frame, more, said in packets]
    path = tmp_path_factory.mktemp("written") / "a.pcapng"
    path.write_bytes(written(interfaces, packets))
    found, summary = scanned(path)
    assert found == [((ETHERNET, COOKED)[n], ts, frame, wire) for n, ts, frame, wire, _ in packets]
    assert not summary.problems
    assert "section 1: comment: a file of a test" in summary.notes


def test_a_frame_without_a_time_stamp_says_so(tmp_path, program):
    """A block has no way to say it: zero is written, and the comment tells."""
    path = tmp_path / "a.pcapng"
    path.write_bytes(written([Interface(ETHERNET, "c001", "")], [(0, NO_TIME, FRAME, len(FRAME), "frame 1")]))
    fields = ["-T", "fields", "-e", "frame.comment", "-e", "frame.time_epoch"]
    done = subprocess.run(
        [program("tshark"), "-r", path, *fields], capture_output=True, text=True, check=True
    )
    comment, time = done.stdout.strip("\n").split("\t")
    assert comment == "frame 1; the capture has no time stamp for it"
    assert float(time) == 0


def test_a_comment_longer_than_an_option_is_cut(tmp_path):
    path = tmp_path / "a.pcapng"
    path.write_bytes(written([Interface(ETHERNET, "c001", "")], [(0, 5, FRAME, len(FRAME), "x" * 70_000)]))
    found, summary = scanned(path)
    assert (len(found), summary.problems) == (1, ())
