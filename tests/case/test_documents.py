"""Documents given beside captures: server logs, station files, redirectors."""

import gzip
import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest

import mmsforensics

SAMPLES = Path(__file__).parents[2] / "sample_data"
LOG = (
    b"#Software: Windows Media Services 9.0\r\n#Version: 1.0\r\n"
    b"#Fields: c-ip date time\r\n10.0.0.1 2004-01-02 03:04:05\r\n"
)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (LOG, "w3c log"),
        (b"\xef\xbb\xbf" + LOG, "w3c log"),
        (LOG.decode().encode("utf-16"), "w3c log"),
        (b"\r\n[Address]\r\nName=x\r\n", "nsc"),
        (b"[Reference]\r\nRef1=http://192.0.2.1/a.asf?MSWMExt=.asf\r\n", "redirector"),
        (b'<ASX version="3.0"></ASX>', "redirector"),
    ],
)
def test_a_document_is_evidence_of_its_own_format(tmp_path, content, kind):
    (tmp_path / "document").write_bytes(content)
    case = mmsforensics.analyze(
        [tmp_path / "document", SAMPLES / "http_curl_whole.pcap"], out=tmp_path / "case"
    )
    row = case.captures.iloc[0]
    assert (row["format"], row["packets"], list(row["problems"])) == (kind, 0, [])
    assert row["sha256"] == hashlib.sha256(content).hexdigest()
    assert len(case.sessions) == 1  # the capture beside it is read as ever
    assert case.sessions.iloc[0]["capture_id"] == "c002"


def test_documents_in_folders_archives_and_gzip_are_taken(tmp_path):
    folder = tmp_path / "evidence"
    folder.mkdir()
    (folder / "ex040102.log.gz").write_bytes(gzip.compress(LOG))
    (folder / "notes.txt").write_text("nothing that is evidence")
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        archive.writestr("station.nsc", "[Address]\r\n")
    shutil.copy(SAMPLES / "http_curl_whole.pcap", folder)
    case = mmsforensics.analyze([folder], out=tmp_path / "case")
    assert list(case.captures["format"]) == ["w3c log", "pcap", "nsc"]


def test_a_case_may_rest_on_documents_alone(tmp_path):
    (tmp_path / "a.log").write_bytes(LOG)
    case = mmsforensics.analyze([tmp_path / "a.log"], out=tmp_path / "case")
    assert list(case.captures["format"]) == ["w3c log"]
    assert all(check.ok for check in mmsforensics.verify(case, deep=True))


def test_info_says_what_a_document_is(tmp_path):
    from mmsforensics.case.survey import survey

    (tmp_path / "a.log").write_bytes(LOG)
    [found] = survey(tmp_path / "a.log")
    assert (found.format, found.scan.packets, found.problems) == ("w3c log", 0, ())
