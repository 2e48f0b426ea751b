"""From what an engine raised to the error that its job ends with."""

from pathlib import Path

import pytest

from studio_worker.engines.failures import job_error
from studio_worker.errors import BadInput, Cancelled, EngineError, JobCancelled, NoEngine, OutOfMemory, UnsupportedTask


def ended(error: BaseException, *, asked: bool = False):
    return job_error("toy", "j-1", error, was_asked_to_stop=asked)


def test_an_engine_that_stops_as_asked_was_cancelled():
    assert isinstance(ended(Cancelled(), asked=True), JobCancelled)


def test_an_engine_that_stops_unasked_has_failed():
    error = ended(Cancelled())
    assert type(error) is EngineError
    assert error.retryable


def test_an_error_after_the_cancel_is_still_that_error():
    assert type(ended(ValueError("x"), asked=True)) is EngineError


@pytest.mark.parametrize("retryable", [True, False])
@pytest.mark.parametrize("kind", [EngineError, OutOfMemory])
def test_the_engine_says_whether_another_try_can_help(kind, retryable):
    error = ended(kind("no", retryable=retryable))
    assert (type(error), error.retryable) == (kind, retryable)


def test_an_engines_own_subclass_becomes_the_kind_that_others_know():
    class Special(UnsupportedTask):
        def __init__(self, a, b):
            super().__init__(f"{a} {b}")

    error = ended(Special(1, 2))
    assert (type(error), str(error)) == (UnsupportedTask, "1 2")


def test_errors_that_are_not_an_engines_to_raise_are_failures():
    assert type(ended(NoEngine("somebody else"))) is EngineError


@pytest.mark.parametrize("kind", [UnsupportedTask, BadInput, EngineError])
def test_the_words_of_an_engine_are_escaped_and_bounded(kind):
    error = ended(kind("ok\n2026-01-01 | ERROR | forged \x1b[2J " + "x" * 1_000_000))
    assert str(error).startswith("ok\\n2026-01-01 | ERROR | forged \\x1b[2J x")
    assert len(str(error)) < 1_200


def test_an_error_without_words_is_named_by_its_type():
    assert str(ended(BadInput())) == "BadInput"
    assert str(ended(BadInput("a: b: c"))) == "a: b: c"


def test_an_error_whose_words_cannot_be_read_is_named_by_its_type():
    class Odd(Exception):
        def __str__(self):
            raise ValueError

    assert str(ended(Odd())) == "engine 'toy' failed: Odd: (its message cannot be read)"


FOLDERS = (Path("/state/jobs/75400b"), Path("/srv/models"), Path("/"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BadInput("cannot be decoded: 'file:/state/jobs/75400b/input-audio'"), "cannot be decoded: 'file:input-audio'"),
        (EngineError("/srv/models/org/a.gguf is broken"), "org/a.gguf is broken"),
        (EngineError("nothing in /srv/models: /srv/models-old/a"), "nothing in models: /srv/models-old/a"),
        (
            FileNotFoundError(2, "gone", "/state/jobs/75400b/a.png"),
            "failed: FileNotFoundError: [Errno 2] gone: 'a.png'",
        ),
        (EngineError("/old/srv/models/a is gone"), "/old/srv/models/a is gone"),
        (MemoryError("/srv/models/a.gguf"), "ran out of memory: MemoryError: a.gguf"),
    ],
)
def test_files_of_a_job_are_told_by_their_names_and_not_by_where_they_lie(error, words):
    assert str(job_error("toy", "j-1", error, was_asked_to_stop=False, folders=FOLDERS)).endswith(words)


def test_a_path_with_doubled_backslashes_is_known_too():
    folder = Path("C:\\state\\work")
    error = job_error("toy", "j-1", OSError(2, "gone", f"{folder}\\a.png"), was_asked_to_stop=False, folders=[folder])
    assert str(error).endswith("gone: 'a.png'")
