"""Arrow arrays built without pandas are those that pyarrow builds."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from conftest import SAMPLES
from hypothesis import given
from hypothesis import strategies as st

from mmsforensics.analytics.arrays import array_of, numbers_of, repeated, repeated_each

KINDS = {
    pa.string(): st.text(),
    pa.bool_(): st.booleans(),
    pa.uint8(): st.integers(0, 255),
    pa.uint64(): st.integers(0, 2**63 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.timestamp("ns", tz="UTC"): st.integers(-(2**62), 2**62),
    pa.list_(pa.string()): st.lists(st.text(), max_size=4),
}


@pytest.mark.parametrize(("kind", "values"), KINDS.items(), ids=map(str, KINDS))
@given(data=st.data())
def test_lists_with_nulls(kind, values, data):
    rows = data.draw(st.lists(st.none() | values, max_size=20))
    built = array_of(rows, kind)
    built.validate(full=True)
    assert built.equals(pa.array(rows, kind))


def test_numpy_with_a_mask():
    values, null = np.arange(10, dtype=np.uint32), np.arange(10) % 3 == 0
    built = array_of(values, pa.uint32(), null)
    assert built.equals(pa.array(values, mask=null))
    assert numbers_of(pa.array(values)[3:5]).tolist() == [3, 4]


@given(st.text(max_size=5), st.lists(st.booleans(), max_size=20))
def test_the_same_text_again_and_again(text, null):
    built = repeated(text, len(null), np.array(null, dtype=np.bool_))
    built.validate(full=True)
    assert built.equals(pa.array([None if n else text for n in null], pa.string()))
    assert repeated(text, len(null)).equals(pa.array([text] * len(null), pa.string()))


@given(st.lists(st.tuples(st.text(max_size=5), st.integers(0, 4)), max_size=6))
def test_texts_each_as_often_as_its_count(given):
    built = repeated_each([text for text, _ in given], [count for _, count in given])
    built.validate(full=True)
    assert built.equals(pa.array([text for text, count in given for _ in range(count)], pa.string()))


def test_an_analysis_does_not_load_pandas(tmp_path):
    """Its import takes as long as all the rest of a small analysis."""
    code = "import sys, mmsforensics; mmsforensics.analyze(sys.argv[1:2], sys.argv[2])\n"
    code += "assert 'pandas' not in sys.modules"
    capture = SAMPLES / "mmst_mplayer_audio_unicode.pcap"
    subprocess.run([sys.executable, "-c", code, capture, tmp_path / "case"], check=True)
