"""What went wrong, as the one error that a job ends with."""

import pytest

from studio_worker.errors import BadInput, FetchFailed, JobCancelled
from studio_worker.jobs.failures import as_job_error, narrow


def test_an_error_of_a_job_is_itself():
    error = BadInput("no picture")
    assert as_job_error(error, "job-1") is error


def test_of_a_group_the_first_error_is_told():
    first = FetchFailed("no answer")
    group = ExceptionGroup("unhandled", [ExceptionGroup("inner", [first, ValueError("x")]), BadInput("later")])
    assert narrow(group) is first
    assert as_job_error(group, "job-1") is first


def test_a_cancelled_job_keeps_whether_another_worker_may_run_it():
    assert as_job_error(JobCancelled("drain", retryable=True), "job-1").retryable


@pytest.mark.parametrize("error", [ZeroDivisionError("a flaw"), KeyError("x"), OSError(28, "No space left on device")])
def test_what_nobody_planned_for_may_be_retried_and_is_named(error):
    found = as_job_error(error, "job-1")
    assert found.retryable
    assert any(word in str(found) for word in ("a flaw", "KeyError", "No space left"))


def test_outside_text_in_an_unplanned_error_is_escaped():
    assert "\x1b" not in str(as_job_error(ValueError("\x1b[2J"), "job-1"))
