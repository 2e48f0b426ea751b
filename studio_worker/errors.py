"""Every error of studio-worker, in one small tree.

::

    StudioWorkerError                 .exit_code (sysexits), .retryable
    ├── ConfigError                   78: the config file, the environment, the credentials file
    ├── NoRoom                        1: a disk is full at the start
    ├── AlreadyRunning                75: another worker holds the state folder
    ├── PortInUse                     1: a listener's port is taken
    ├── StudioRefused                 77: the studio does not want this worker
    │   ├── RegistrationRejected
    │   ├── AuthFailed
    │   ├── DuplicateWorker
    │   └── WorkerDeleted
    ├── ReconnectBudgetSpent          69: `ws_reconnect_attempts` used up
    ├── StudioUnreachable             1: a call to a studio that got no usable answer
    ├── LinkClosed                    the connection that an offer came on is gone
    ├── PluginError                   a plugin is broken (strict mode raises it)
    └── JobError                      the end of one job; the worker goes on
        ├── BadClaim                  a field of the claim; `.field` is its wire name
        ├── NoEngine                  strict routing found nobody
        ├── UnsupportedTask           the engine cannot do this task
        ├── BadInput                  the input is not what the task needs
        ├── FetchRefused              a URL broke a rule; `.rule` is its name
        ├── FetchFailed               a download that another try may cure
        ├── ModelUnavailable          a model file is not there or not what was asked
        ├── EngineError               the engine failed; retryable unless it says otherwise
        │   └── OutOfMemory
        ├── ResultRejected            the engine's result did not pass its check; `.rule`
        └── JobCancelled              the studio, the operator or a drain ended it

`Cancelled` stands apart: it derives from BaseException, so that an engine's
``except Exception`` cannot swallow it.
"""

from __future__ import annotations


class StudioWorkerError(Exception):
    """The root: one sentence that says what failed, on what, and what to do next."""

    exit_code = 1
    """Exit status of a command that ends with this error (sysexits)."""

    retryable = False
    """Whether another try, or another worker, can help."""


class ConfigError(StudioWorkerError):
    """The operator's settings cannot be used; the sentence names file or variable, field and remedy."""

    exit_code = 78


class NoRoom(StudioWorkerError):
    """A disk is full: nothing can be begun until there is room. No fault of the settings: a service may try again."""


class AlreadyRunning(StudioWorkerError):
    """Another worker holds this state folder."""

    exit_code = 75


class PortInUse(StudioWorkerError):
    """A port to listen on is taken."""


class StudioRefused(StudioWorkerError):
    """The studio refuses this worker; restarting does not help until somebody acts."""

    exit_code = 77


class RegistrationRejected(StudioRefused):
    """An operator of the studio rejected the registration."""


class AuthFailed(StudioRefused):
    """The studio does not accept the worker's token any more."""


class DuplicateWorker(StudioRefused):
    """The same worker id is connected from somewhere else."""


class WorkerDeleted(StudioRefused):
    """The studio has deleted this worker."""


class ReconnectBudgetSpent(StudioWorkerError):
    """The studio could not be reached within `ws_reconnect_attempts` tries in a row."""

    exit_code = 69
    retryable = True


class StudioUnreachable(StudioWorkerError):
    """A studio gave no usable answer."""

    retryable = True


class LinkClosed(StudioWorkerError):
    """The connection that carried an offer has ended, and with it the claim; nothing can be sent about it."""


class PluginError(StudioWorkerError):
    """A plugin could not be described; the sentence names distribution, version and reason."""


class JobError(StudioWorkerError):
    """One job's end: what the studio is told in a `fail` frame."""


class BadClaim(JobError):
    """A claim, or a task, breaks the contract.

    Args:
        field: the field by its wire name, dotted (``task.width``).
        problem: what is wrong with it and what is allowed.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class NoEngine(JobError):
    """No installed engine serves what the claim names; never answered by another engine."""


class UnsupportedTask(JobError):
    """The engine serves the kind of job but not this task."""


class BadInput(JobError):
    """An input of the job is not what the task needs."""


class FetchRefused(JobError):
    """A URL breaks a rule and was never connected to.

    Args:
        rule: the rule's short name (``private-address``).
        message: the sentence for people.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{message} (rule: {rule})")
        self.rule = rule


class FetchFailed(JobError):
    """A download failed.

    Args:
        message: the sentence for people.
        retryable: whether another try can help (a refused connection, a 503); a 404 cannot be cured.
    """

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class ModelUnavailable(JobError):
    """A model file is missing, or is not the file that the claim names."""

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class EngineError(JobError):
    """The engine failed.

    Args:
        message: what happened.
        retryable: whether another try, here or elsewhere, can help.
    """

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class OutOfMemory(EngineError):
    """The model or the job did not fit into memory."""


class ResultRejected(JobError):
    """The engine's result did not pass the check before delivery.

    Args:
        rule: the rule's short name (``does-not-decode``).
        message: the sentence for people.
    """

    retryable = True

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{message} (rule: {rule})")
        self.rule = rule


class JobCancelled(JobError):
    """The job was ended on request.

    Args:
        reason: who asked and why.
        retryable: true when this worker is leaving and another one may run the job.
    """

    def __init__(self, reason: str, *, retryable: bool = False) -> None:
        super().__init__(f"cancelled: {reason}")
        self.reason = reason
        self.retryable = retryable


class Cancelled(BaseException):
    """Raised inside an engine by `EngineJob.check_cancelled`.

    A BaseException, so that an engine's `except Exception` lets it through.
    """
