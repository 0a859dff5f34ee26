"""Byte access of the compiled passes, and the key of their cache."""

import ast
import importlib
import inspect
import pkgutil
import sys
import types

import numpy as np
from numba.core.dispatcher import Dispatcher

import mmsforensics
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


def compiled():
    """All compiled functions that modules hold, entries among them."""
    found = {}
    for info in pkgutil.walk_packages(mmsforensics.__path__, "mmsforensics."):
        if not info.name.startswith(("mmsforensics.cli", "mmsforensics.preview", "mmsforensics.__main__")):
            module = importlib.import_module(info.name)
            found |= {id(f): f for f in vars(module).values() if isinstance(f, Dispatcher)}
    return found.values()


def called(function, seen):
    """Compiled functions that a compiled function is made of."""
    python = function.py_func
    for name in python.__code__.co_names:
        other = python.__globals__.get(name)
        if isinstance(other, Dispatcher) and other not in seen:
            seen.add(other)
            called(other, seen)
    return seen


def followed(module):
    """Modules of which a module closes over the fingerprint."""
    calls = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "fingerprint"
    ]
    return {m for call in calls for m in eval(ast.unparse(call.args[0]), vars(module))}


def test_no_cached_function_is_made_of_what_its_key_does_not_follow():
    """Else an old machine code would be taken for the new one."""
    cached = [f for f in compiled() if type(f._cache).__name__ != "NullCache"]
    across = 0
    for function in cached:
        home = sys.modules[function.py_func.__module__]
        foreign = {sys.modules[f.py_func.__module__] for f in called(function, set())} - {home}
        across += bool(foreign)
        if foreign:
            assert function.py_func.__code__.co_freevars == ("sources",), function
            assert foreign <= followed(home), (function, foreign - followed(home))
    assert across
