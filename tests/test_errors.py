from __future__ import annotations

import inspect

import pytest

from studio_worker import errors
from studio_worker.errors import (
    AlreadyRunning,
    AuthFailed,
    BadClaim,
    BadInput,
    Cancelled,
    ConfigError,
    DuplicateWorker,
    EngineError,
    FetchFailed,
    FetchRefused,
    JobCancelled,
    JobError,
    ModelUnavailable,
    NoEngine,
    NoRoom,
    OutOfMemory,
    PluginError,
    PortInUse,
    ReconnectBudgetSpent,
    RegistrationRejected,
    ResultRejected,
    StudioRefused,
    StudioWorkerError,
    UnsupportedTask,
    WorkerDeleted,
)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (StudioWorkerError, 1),
        (PortInUse, 1),
        (PluginError, 1),
        (ReconnectBudgetSpent, 69),
        (AlreadyRunning, 75),
        (NoRoom, 1),
        (StudioRefused, 77),
        (RegistrationRejected, 77),
        (AuthFailed, 77),
        (DuplicateWorker, 77),
        (WorkerDeleted, 77),
        (ConfigError, 78),
    ],
)
def test_an_error_ends_a_command_with_its_sysexit(kind, code):
    assert kind("what failed").exit_code == code


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (BadClaim("task.width", "must be more"), False),
        (NoEngine("n"), False),
        (UnsupportedTask("u"), False),
        (BadInput("b"), False),
        (FetchRefused("private-address", "f"), False),
        (FetchFailed("f"), True),
        (FetchFailed("f", retryable=False), False),
        (ModelUnavailable("m"), True),
        (ModelUnavailable("m", retryable=False), False),
        (EngineError("e"), True),
        (EngineError("e", retryable=False), False),
        (OutOfMemory("o"), True),
        (ResultRejected("does-not-decode", "r"), True),
        (JobCancelled("by the operator"), False),
        (JobCancelled("draining", retryable=True), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_job_error_knows_whether_another_try_can_help(error, retryable):
    assert isinstance(error, JobError)
    assert error.retryable is retryable


def test_an_error_says_its_sentence_with_field_rule_or_reason():
    claim = BadClaim("task.width", "must be more")
    assert (str(claim), claim.field, claim.problem) == ("task.width: must be more", "task.width", "must be more")
    refused = FetchRefused("private-address", "10.0.0.1 is private")
    assert (str(refused), refused.rule) == ("10.0.0.1 is private (rule: private-address)", "private-address")
    assert str(ResultRejected("all-black", "every pixel is black")) == "every pixel is black (rule: all-black)"
    assert str(JobCancelled("by the operator")) == "cancelled: by the operator"


def test_no_except_exception_of_an_engine_catches_a_cancel():
    assert issubclass(Cancelled, BaseException)
    assert not issubclass(Cancelled, Exception)


def test_every_error_hangs_on_the_one_tree_and_stands_in_its_picture():
    kinds = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and kind is not Cancelled}
    assert all(issubclass(kind, StudioWorkerError) for kind in kinds.values())
    assert all(name in (errors.__doc__ or "") for name in kinds)
