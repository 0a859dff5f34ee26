"""The examples in docs/asf.md do what they say."""

import doctest

from conftest import ROOT


def test_examples(monkeypatch):
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testfile(str(ROOT / "docs" / "asf.md"), module_relative=False)
    assert tried > 20
    assert failed == 0
