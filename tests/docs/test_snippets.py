"""The blocks of every page are run in order, as a reader would; data is checked, and what is shown was said."""

from __future__ import annotations

import shutil

import pytest

from .data_blocks import CHECKS
from .fences import Fence, fences
from .sandbox import Sandbox

RUN = ("python", "sh", "console", "text")


@pytest.fixture
def sandbox(tmp_path):
    sandbox = Sandbox(tmp_path)
    yield sandbox
    sandbox.close()


def run_all(text: str, sandbox: Sandbox) -> None:
    """All blocks of a text."""
    for fence in fences(text):
        run(fence, sandbox, "page.md")


def run(fence: Fence, sandbox: Sandbox, page: str) -> None:
    """Do with a block what a reader does with it."""
    if "after Ctrl-C" in fence.notes:
        sandbox.stop()
    if "approved" in fence.notes:
        sandbox.approve()
    for line in fence.beside:
        sandbox.shell(line)
    if fence.title:
        sandbox.file(fence.title, fence.text)
    elif fence.language == "python":
        sandbox.python(page, fence.line, fence.text)
    elif fence.language == "sh":
        sandbox.shell(fence.text, status=fence.status)
    elif fence.language == "text":
        sandbox.expect(fence.text)
    elif fence.language == "console":
        lines = fence.text.splitlines()
        sandbox.shell("\n".join(line[2:] for line in lines if line.startswith("$ ")), status=fence.status)
        sandbox.expect("\n".join(line for line in lines if not line.startswith("$ ")))


# A page is many commands; each of them has a limit of its own.
@pytest.mark.timeout(600)
def test_the_blocks_of_a_page_run_in_order(page, request):
    blocks = [fence for fence in page.fences if not fence.excuse]
    if all(fence.language not in RUN for fence in blocks):
        return
    sandbox = request.getfixturevalue("sandbox")
    for fence in blocks:
        try:
            run(fence, sandbox, str(page))
        except AssertionError as error:
            raise AssertionError(f"{page}, line {fence.line}: {error}") from None


def test_the_data_of_a_page_is_sound(page, tmp_path):
    for fence in page.fences:
        if fence.title.endswith(".py"):
            compile(fence.text, fence.title, "exec")
        elif (check := CHECKS.get(fence.language)) is not None and not fence.excuse:
            check(fence.text, tmp_path)


def test_a_block_of_a_page_is_one_that_is_tested_or_says_why_not(page):
    for fence in page.fences:
        tested = fence.title or fence.language in (*RUN, *CHECKS)
        assert tested or fence.excuse, f"{page}, line {fence.line}: nothing tests a block of {fence.language or 'text'}"
        assert fence.excuse or not any(note.startswith("not run") for note in fence.notes), "say why it is not run"


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ("```sh\nstudio-worker rnu\n```\n", "No such command"),
        ("```sh\nfalse\n```\n", "status 1"),
        ("```python\nasser\n```\n", "NameError"),
        ("```sh\necho one\n```\n\n```text\ntwo\n```\n", "'two' is not in"),
        ("```console\n$ echo one\ntwo\n```\n", "'two' is not in"),
        ('```python title="docs/examples/demo_models.py"\nother\n```\n', "another file in the repository"),
        ("<!-- exits 3 -->\n```sh\nexit 4\n```\n", "status 4"),
    ],
)
def test_a_block_that_does_not_hold_would_be_found(sandbox, block, problem):
    with pytest.raises(AssertionError, match=problem):
        run_all(block, sandbox)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("toml", "models_rot = 'here'\n"),
        ("toml", "max_concurrent_jobs = 0\n"),
        ("toml", "[project]\nname = 'a b'\nversion = '1'\n"),
        ("toml", "[project.entry-points.studio_worker]\nbeep = 'studio-worker-beep'\n"),
        ("json", '{"model": "m", "task": {"kind": "poem"}}'),
        ("ini", "[Srvice]\n"),
        ("dockerfile", "FORM python\n"),
    ],
)
def test_data_that_is_not_sound_would_be_found(tmp_path, language, text):
    with pytest.raises(Exception, match=r"."):
        CHECKS[language](text, tmp_path)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_a_unit_with_a_key_that_systemd_does_not_know_would_be_found(tmp_path):
    with pytest.raises(AssertionError, match="RestartSecs"):
        CHECKS["ini"]("[Service]\nExecStart=/bin/true\nRestartSecs=10\n", tmp_path)


def test_a_comment_above_a_block_is_its_excuse():
    [fence] = fences("Text.\n\n<!-- not run: needs\na GPU -->\n```sh\nnvidia-smi\n```\n")
    assert (fence.excuse, fence.text, fence.line) == ("needs a GPU", "nvidia-smi\n", 6)
