"""Files found on a disk, tied to the sessions they came from."""

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import SAMPLES

from mmsforensics import asf
from mmsforensics.case.matching import match
from mmsforensics.cli import main

FILM = "c003-s0001-m1-faithful"
"""Of the MMST sample of a video; the samples are captures c001 to c006 in the order of their names."""


@pytest.fixture
def film(sample_case):
    (row,) = [r for r in sample_case.table("media").to_pylist() if r["media_id"] == FILM]
    return sample_case.path / row["path"]


def best(case, path):
    (found,) = match(case, [path])
    return found, next((m for m in found.media if m.media_id == FILM), None)


def test_a_file_saved_by_the_client_is_the_same_file(sample_case, film, tmp_path):
    shutil.copy(film, tmp_path / "recording.wmv")
    found, medium = best(sample_case, tmp_path / "recording.wmv")
    assert found.media[0] is medium
    assert (medium.same_file, medium.share, medium.breaks) == (True, 1.0, ())
    assert found.problems == ()


@pytest.mark.parametrize("name", ["again.wmv", "again.mkv"])
def test_a_file_packed_anew_by_another_program_has_the_payloads(sample_case, film, tmp_path, program, name):
    command = [program("ffmpeg"), "-v", "error", "-i", film, "-c", "copy", tmp_path / name]
    subprocess.run(command, check=True)
    found, medium = best(sample_case, tmp_path / name)
    assert not medium.same_file
    assert medium.share > 0.999
    assert medium.ordered
    assert any("no ASF header" in p for p in found.problems) is name.endswith("mkv")


def test_a_part_says_where_it_begins_and_ends(sample_case, film, tmp_path):
    data = film.read_bytes()
    (tmp_path / "part.bin").write_bytes(b"slack" + data[100_000:250_000])
    found, medium = best(sample_case, tmp_path / "part.bin")
    assert 0.40 < medium.share < 0.47
    assert medium.packets_whole == pytest.approx(46, abs=1)
    texts = " ".join(b.text for b in medium.breaks)
    assert "begins with packet" in texts
    assert "ends with packet" in texts
    assert found.problems == ("there is no ASF header: nothing says what codecs its streams have",)


def test_a_hole_and_packets_out_of_order_are_breaks_at_their_places(sample_case, film, tmp_path):
    data = film.read_bytes()
    header, size = len(data) % 3200, 3200
    packets = [data[at : at + size] for at in range(header, len(data), size)]
    order = [*range(20), *range(30, 40), *range(25, 30)]
    (tmp_path / "a.wmv").write_bytes(data[:header] + b"".join(packets[i] for i in order))
    found, medium = best(sample_case, tmp_path / "a.wmv")
    assert medium.packets_whole == len(order)
    assert not medium.ordered
    back = [b for b in medium.breaks if "goes back" in b.text]
    assert len(back) == 2, "one for each stream"
    assert all(b.packet == 25 and 0 <= b.file_offset - header - 30 * size < 2 * size for b in back)
    assert any(b.packet == 30 and "are not found" in b.text for b in medium.breaks)
    assert any("packets are declared" in p for p in found.problems)


def test_what_a_carver_cut_out_of_the_capture_says_what_it_left_in(sample_case, tmp_path):
    """From the ASF header on, frame headers and all: it does not play, and the reason is shown."""
    raw = (SAMPLES / "mmst_ffmpeg_video.pcap").read_bytes()
    at = raw.find(bytes.fromhex("3026b2758e66cf11"))
    path = tmp_path / "carved.wmv"
    path.write_bytes(raw[at:])
    found, medium = best(sample_case, path)
    assert medium.share > 0.95
    assert any("do not parse: the first is packet 0" in p for p in found.problems)
    # 16 of the pcap record, 14 of Ethernet, 20 of IP, 32 of TCP with time stamps
    assert any("82 bytes between payloads" in text for text in medium.foreign(path_bytes(path)))


def path_bytes(path):
    from mmsforensics.case.matching import mapped

    return mapped(path)


@pytest.mark.parametrize("content", [b"", b"hello" * 1000, bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")])
def test_a_stranger_has_nothing_in_common(sample_case, tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    found, _ = best(sample_case, tmp_path / "a")
    assert found.media == ()
    assert found.problems


def test_the_share_of_the_file_says_what_came_from_elsewhere(sample_case, film, tmp_path):
    """Of every second packet the payloads are another film's."""
    (tmp_path / "whole.wmv").write_bytes(film.read_bytes())
    found, medium = best(sample_case, tmp_path / "whole.wmv")
    assert found.payload_bytes == medium.of_file == medium.payload_bytes
    data, noise, foreign = bytearray(film.read_bytes()), random.Random(3), 0
    with asf.open(film) as opened:
        header, rows = opened.header.data_offset, opened.payloads()
    for row in rows[rows["packet"] % 2 == 1]:
        at, length = header + int(row["packet"]) * 3200 + int(row["at"]), int(row["length"])
        data[at : at + length] = noise.randbytes(length)
        foreign += length
    (tmp_path / "mixed.wmv").write_bytes(data)
    found, medium = best(sample_case, tmp_path / "mixed.wmv")
    assert found.payload_bytes - medium.of_file == pytest.approx(foreign, rel=0.01)
    assert medium.of_file == medium.agreed
    (tmp_path / "part.bin").write_bytes(data[header:])
    found, medium = best(sample_case, tmp_path / "part.bin")
    assert (found.payload_bytes, medium.of_file) == (0, 0), "without a header nothing says what is payload"


def test_of_a_folder_all_files_are_taken_and_links_are_not_followed(sample_case, film, tmp_path):
    folder = tmp_path / "disk" / "deep"
    folder.mkdir(parents=True)
    shutil.copy(film, folder / "a.wmv")
    (tmp_path / "disk" / "b.txt").write_text("no")
    (tmp_path / "disk" / "up").symlink_to(tmp_path)
    (tmp_path / "disk" / "link.wmv").symlink_to(film)
    found = match(sample_case, [tmp_path / "disk"])
    assert [Path(f.path).name for f in found] == ["b.txt", "a.wmv"]
    assert found[1].media[0].same_file


def test_the_command(sample_case, film, tmp_path):
    from click.testing import CliRunner

    (tmp_path / "other").write_bytes(b"x" * 100)
    done = CliRunner().invoke(main, ["match", str(sample_case.path), str(film)])
    assert (done.exit_code, "the same file" in done.output) == (0, True)
    done = CliRunner().invoke(main, ["match", str(sample_case.path), str(film), str(tmp_path / "other")])
    assert done.exit_code == 1
    assert "nothing of it is in the case" in done.output
    done = CliRunner().invoke(main, ["match", str(sample_case.path), str(film), "--json"])
    assert json.loads(done.output)[0]["media"][0]["same_file"] is True
    assert CliRunner().invoke(main, ["match", str(tmp_path), str(film)]).exit_code == 2
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(main, ["match", str(sample_case.path), str(tmp_path / "empty")])
    assert done.exit_code == 1, "nothing was found"
    assert CliRunner().invoke(main, ["match", str(sample_case.path), str(tmp_path / "no")]).exit_code == 2
