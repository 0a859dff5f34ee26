"""Byte access of the compiled passes, and the key of their cache."""

import types

import numpy as np

from mmsforensics.evidence.compiled import be16, be32, fingerprint, le16, le32, u16, u32

DATA = np.frombuffer(bytes.fromhex("00 fedcba98 00"), np.uint8)


def test_integers_in_both_byte_orders():
    assert (be16(DATA, 1), le16(DATA, 1)) == (0xFEDC, 0xDCFE)
    assert (be32(DATA, 1), le32(DATA, 1)) == (0xFEDCBA98, 0x98BADCFE)
    assert (u16(DATA, 1, True), u16(DATA, 1, False)) == (0xFEDC, 0xDCFE)
    assert (u32(DATA, 1, True), u32(DATA, 1, False)) == (0xFEDCBA98, 0x98BADCFE)


def test_the_fingerprint_follows_the_sources(tmp_path):
    module = types.ModuleType("module")
    module.__file__ = str(tmp_path / "module.py")
    (tmp_path / "module.py").write_text("A = 1")
    before = fingerprint([module])
    (tmp_path / "module.py").write_text("A = 2")
    assert fingerprint([module]) != before
