"""A test that needs of the system what is not here says what, and what to do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .system_tools import PACKAGES, RIGHTS, lack

Bin = Callable[..., None]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bin]:
    """``programs(strace="exit 1")``: from now on there are these programs alone, each a line of the shell."""
    lack.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(**lines: str) -> None:
        for name, line in lines.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
            (tmp_path / name).chmod(0o755)

    (tmp_path / "cat").symlink_to("/bin/cat")
    yield make
    lack.cache_clear()


@pytest.mark.parametrize(
    ("need", "program"),
    [*((program, program) for program in PACKAGES), ("namespaces", "unshare"), ("attaching", "strace")],
)
def test_a_program_that_is_not_here_is_named_with_its_package(programs: Bin, need: str, program: str) -> None:
    assert lack(need) == f"needs {program}, which is not here (Debian: apt install {PACKAGES[program]})"


def test_namespaces_that_may_not_be_made_are_named_with_the_setting(programs: Bin) -> None:
    programs(mount="exit 0", unshare="echo 'unshare failed: Operation not permitted' >&2; exit 1")
    assert "(unshare failed: Operation not permitted)" in lack("namespaces")
    assert "kernel.apparmor_restrict_unprivileged_userns=0" in lack("namespaces")


def test_a_process_that_may_not_be_traced_is_named_with_the_setting(programs: Bin) -> None:
    programs(strace="echo 'attach: ptrace(PTRACE_SEIZE): Operation not permitted' >&2; exit 1")
    assert "(attach: ptrace(PTRACE_SEIZE): Operation not permitted)" in lack("attaching")
    assert "kernel.yama.ptrace_scope=0" in lack("attaching")


@pytest.mark.needs(*PACKAGES, *RIGHTS)
def test_what_is_here_and_allowed_is_not_lacking() -> None:
    assert [lack(need) for need in (*PACKAGES, *RIGHTS)] == [""] * (len(PACKAGES) + len(RIGHTS))
    assert os.environ["PATH"]
