"""Byte code that Python would run in place of a source: whether it is the source's."""

import importlib
import importlib.util
import marshal
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

from studio_worker.engines import byte_code, byte_code_probe
from studio_worker.engines.byte_code import UncheckedByteCode, foreign_byte_code
from studio_worker.engines.byte_code_probe import foreign_byte_code as told_by_the_probe
from studio_worker.engines.installed_content import NoContent, installed_content

from .packages import list_files

BY_TIME = py_compile.PycInvalidationMode.TIMESTAMP
UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH
CHECKED = py_compile.PycInvalidationMode.CHECKED_HASH

SOURCE = '''
"""Something of everything that a module may hold."""

import re
from dataclasses import dataclass

NUMBERS = (1, 1.0, True, -0.0, 2j, b"1", None, ..., ("a", ("b",)))


@dataclass
class Fox:
    """A fox."""

    name: str = "fox"

    async def hunt(self, *prey, **how):
        assert prey, "nothing to hunt"
        try:
            found = [each for each in prey if each in {"hare", "mouse", 3}]
        except* ValueError:
            found = (lambda: self.name)()
        return found


def matched(text):
    match text:
        case {"a": [first, *_]}:
            yield first
'''


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "den" / "fox.py"
    path.parent.mkdir()
    path.write_text(SOURCE)
    return path


def compiled(module: Path, source: str | None = None, mode=BY_TIME, level: int = 0) -> Path:
    """Byte code in the module's cache, of its own source or of another with the same times and size."""
    target = Path(importlib.util.cache_from_source(str(module), optimization=level or ""))
    kept, times = module.read_text(), module.stat()
    if source is not None:
        module.write_text(source.ljust(len(kept)))
        os.utime(module, ns=(times.st_atime_ns, times.st_mtime_ns))
    py_compile.compile(str(module), str(target), invalidation_mode=mode, doraise=True, optimize=level)
    module.write_text(kept)
    os.utime(module, ns=(times.st_atime_ns, times.st_mtime_ns))
    return target


@pytest.mark.parametrize("mode", [BY_TIME, UNCHECKED, CHECKED])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_what_python_made_of_a_source_is_its_own(module, mode, level):
    compiled(module, mode=mode, level=level)
    assert foreign_byte_code([str(module)]) is None


@pytest.mark.parametrize("mode", [BY_TIME, UNCHECKED, CHECKED])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_other_code_is_named_whatever_its_head_says_of_the_source(module, mode, level):
    planted = compiled(module, "VALUE = 'planted'", mode=mode, level=level)
    assert foreign_byte_code([str(module)]) == str(planted)


def test_a_module_that_was_never_imported_has_none(module):
    assert foreign_byte_code([str(module)]) is None


@pytest.mark.parametrize(
    ("written", "planted"),
    [
        ("X = 1", "X = 2"),
        ("X = 1", "X = True"),
        ("X = 1", "X = 1.0"),
        ("X = 0.0", "X = -0.0"),
        ("X = (1, 2)", "X = (1, 2.0)"),
        ("X = 'a'", "X = b'a'"),
        ("f(a)", "g(a)"),
        ("def f(a): pass", "def f(b): pass"),
        ("def f(a): pass", "def f(*a): pass"),
        ("def f(a, b): pass", "def f(a, *, b): pass"),
        ("def f(): return 1", "def f(): return 2"),
        ("def f(): return lambda: 1", "def f(): return lambda: 2"),
        ("def f(): pass", "async def f(): pass"),
        ("try: f()\nexcept A: pass", "try: f()\nexcept B: pass"),
        ("X in {1, 2}", "X in {1, 3}"),
    ],
)
def test_a_small_difference_is_one(module, written, planted):
    module.write_text(written.ljust(60))
    compiled(module, planted)
    assert told_by_the_probe([str(module)]) is not None
    compiled(module)
    assert told_by_the_probe([str(module)]) is None


def test_byte_code_that_is_kept_elsewhere_is_looked_at_there_and_beside_the_source(module, tmp_path, monkeypatch):
    beside = compiled(module)
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "kept"))
    elsewhere = compiled(module, "VALUE = 'planted'")
    assert elsewhere != beside
    assert foreign_byte_code([str(module)]) == str(elsewhere)
    elsewhere.unlink()
    assert foreign_byte_code([str(module)]) is None
    elsewhere.parent.mkdir(exist_ok=True)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    beside = compiled(module, "VALUE = 'planted'")
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "kept"))
    assert foreign_byte_code([str(module)]) == str(beside)


@pytest.mark.parametrize("data", [b"", b"\x00" * 15, b"made by another Python, long ago and far away"])
def test_what_no_python_of_this_version_would_run_does_not_matter(module, data):
    compiled(module).write_bytes(data)
    assert foreign_byte_code([str(module)]) is None


@pytest.mark.parametrize("body", [marshal.dumps("no code"), b"\xff" * 40], ids=["a text", "noise"])
def test_what_is_no_code_at_all_is_refused_or_never_run(module, body):
    planted = compiled(module)
    planted.write_bytes(planted.read_bytes()[:16] + body)
    # An import of it fails; what matters is that looking at it does not.
    assert foreign_byte_code([str(module)]) in (None, str(planted))


def test_code_beside_a_source_that_cannot_be_compiled_is_not_its_own(module):
    planted = compiled(module, "VALUE = 'planted'")
    module.write_text("this is no Python")
    assert foreign_byte_code([str(module)]) == str(planted)


def test_every_module_of_this_package_compares_as_its_own(tmp_path):
    """The true code of a hundred modules, compiled as an installer compiles it."""
    sources = []
    for source in Path(byte_code.__file__).parent.glob("*.py"):
        copy = tmp_path / source.name
        copy.write_bytes(source.read_bytes())
        sources.append(str(copy))
        compiled(copy)
    assert len(sources) > 50
    assert foreign_byte_code(sources) is None


def test_neither_the_source_nor_the_byte_code_is_run(module, tmp_path):
    trace = tmp_path / "trace"
    module.write_text(f"open({str(trace)!r}, 'w')".ljust(400))
    compiled(module)
    assert foreign_byte_code([str(module)]) is None
    compiled(module, f"open({str(trace)!r}, 'a')")
    assert foreign_byte_code([str(module)]) is not None
    assert not trace.exists()


# who is asked


def test_another_interpreter_looks_for_its_own_byte_code(module, tmp_path):
    """A stand-in for another version: it is started, and says what it was asked."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ncat > {tmp_path}/asked\necho '\"planted.pyc\"'\n")
    python.chmod(0o755)
    assert foreign_byte_code([str(module)], str(python)) == "planted.pyc"
    assert (tmp_path / "asked").read_text() == f'[null, ["{module}"]]'


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 3", "gave no answer that means anything"),
        ("echo hello", "gave no answer that means anything"),
        ("sleep 60", "gave no answer within 0.2 s"),
    ],
)
def test_an_interpreter_that_does_not_answer_is_no_good_answer(module, tmp_path, monkeypatch, script, why):
    monkeypatch.setattr(byte_code, "TIMEOUT_SECS", 0.2 if "sleep" in script else 30.0)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ncat > /dev/null\nexec {script}\n" if "sleep" in script else f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    with pytest.raises(UncheckedByteCode, match=why):
        foreign_byte_code([str(module)], str(python))


def test_an_interpreter_that_is_gone_is_told(module, tmp_path):
    with pytest.raises(UncheckedByteCode, match="cannot be started: No such file"):
        foreign_byte_code([str(module)], str(tmp_path / "python"))


def test_the_probe_needs_nothing_that_is_installed(module):
    script = Path(byte_code_probe.__file__).read_text()
    command = [sys.executable, "-I", "-S", "-c", script]
    asked = subprocess.run(command, input=b"[null, []]", capture_output=True, check=True)
    assert asked.stdout.strip() == b"null"


# of an installed package


@pytest.fixture
def fox(shop):
    """The module of an installed package ``fox``."""
    module = shop.folder / f"{shop.engine('fox')}.py"
    list_files(shop.folder / "fox-1.0.dist-info", module)
    return module


@pytest.mark.parametrize("mode", [BY_TIME, UNCHECKED])
def test_planted_byte_code_that_python_would_run_leaves_a_package_without_a_hash(fox, mode):
    before = installed_content("fox")
    planted = compiled(fox, "print('planted')", mode=mode)
    code = f"import sys; sys.path.insert(0, {str(fox.parent)!r}); import plugin_fox"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "planted\n"
    with pytest.raises(NoContent, match=r"plugin_fox.*\.pyc is not what Python makes of its source: remove it"):
        installed_content("fox")
    planted.unlink()
    compiled(fox, mode=mode)
    assert installed_content("fox") == before


def test_a_package_whose_byte_code_nobody_can_look_at_has_no_hash(fox, tmp_path):
    gone = str(tmp_path / "python")
    with pytest.raises(NoContent, match="byte code of fox cannot be checked: its interpreter cannot be started"):
        installed_content("fox", sys.path, gone)
