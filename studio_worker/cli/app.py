"""The root of the command line: global options, and the one door by which errors leave."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from studio_worker.cli import output
from studio_worker.cli.invocation import LEVELS, Invocation
from studio_worker.cli.lazy import LazyGroup
from studio_worker.errors import StudioWorkerError
from studio_worker.version import __version__

NAME = "studio-worker"


@click.group(
    NAME,
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: studio-worker --config worker.toml run",
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The config file; else STUDIO_WORKER_CONFIG names it, else it is the user's own.",
)
@click.option("--log-level", type=click.Choice(LEVELS, case_sensitive=False), help="The lowest level on stderr.")
@click.option("--log-json", is_flag=True, help="One JSON object a log line.")
@click.version_option(__version__, prog_name=NAME, message="%(prog)s %(version)s")
@click.pass_context
def app(context: click.Context, config_path: Path | None, log_level: str | None, log_json: bool) -> None:
    """Turn this machine into a generation node for a studio."""
    context.obj = Invocation(config_path, log_level, log_json)


def run(args: list[str]) -> int:
    """Run one command line; returns its exit status (sysexits, see `studio_worker.errors`).

    Errors that a user can mend are one sentence on stderr, unexpected ones a line and a hint; neither a traceback.

    Raises:
        BrokenPipeError: the reader of stdout has left.
        KeyboardInterrupt: Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        # Names and texts are UTF-8 whatever the locale says; what it cannot show is escaped, not fatal.
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = app.main(args, prog_name=NAME, standalone_mode=False)
    except click.Abort as abort:
        raise KeyboardInterrupt from abort
    except click.ClickException as error:
        with contextlib.suppress(OSError, ValueError):
            error.show()
        return error.exit_code
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last door: nobody above can say it better than one line
        return _explain(error, show_traceback=_wants_traceback(args))
    return status if isinstance(status, int) else 0


def _explain(error: Exception, *, show_traceback: bool) -> int:
    known = _known(error)
    if show_traceback:
        import traceback

        traceback.print_exception(error)
    if known is not None:
        output.note(f"{NAME}: {known}")
        return known.exit_code
    output.note(f"{NAME}: an unexpected error: {type(error).__name__}: {error}")
    if not show_traceback:
        output.note(f"{NAME}: `{NAME} --log-level debug …` shows where it happened")
    return 1


def _known(error: BaseException) -> StudioWorkerError | None:
    """The error that a user can mend, also out of the groups that concurrent tasks raise."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := _known(inner)) is not None), None)
    return error if isinstance(error, StudioWorkerError) else None


def _wants_traceback(args: list[str]) -> bool:
    context = app.make_context(NAME, list(args), resilient_parsing=True)
    level = context.params.get("log_level")
    return Invocation(log_level=level).shows_tracebacks
