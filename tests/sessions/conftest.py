"""Media that the test servers serve, and the way from a conversation to a case."""

from __future__ import annotations

import pytest
from peers.media import make_asf

import mmsforensics


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """A file with video and audio, packets of 3200 bytes."""
    return make_asf(tmp_path_factory.mktemp("media") / "film.wmv", title="Film", author="Somebody")


@pytest.fixture(scope="session")
def song(tmp_path_factory):
    """A file with audio in packets of 508 bytes, all of them padded."""
    path = tmp_path_factory.mktemp("media") / "song.wma"
    return make_asf(path, seconds=1, video=False, title="Lied für été", packet_size=508)


@pytest.fixture(scope="session")
def long_film(tmp_path_factory):
    """A file with more than 600 small packets: 8-bit sequence numbers wrap twice."""
    path = tmp_path_factory.mktemp("media") / "long.wmv"
    return make_asf(path, seconds=8, title="Long", packet_size=700)


@pytest.fixture
def analyzed(tmp_path):
    """Analyse a capture; returns its case."""

    def analyze(path):
        return mmsforensics.analyze([path], out=tmp_path / "case")

    return analyze
