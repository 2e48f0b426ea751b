"""A graph in an ONNX Runtime session, loaded once; a run of it ends when its job is cancelled."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from studio_worker import EngineError, EngineJob, ModelFiles, OutOfMemory
from studio_worker_onnx.layout import Layout, read_layout, read_output
from studio_worker_onnx.onnx_file import check_file
from studio_worker_onnx.providers import PROVIDERS, choose
from studio_worker_onnx.region import Marks, Pixels

CANCEL_LOOK_SECS = 0.05
"""How often a running graph's job is looked at."""

_ERRORS_ONLY = 3
_NOTHING = 4


@dataclass(frozen=True, slots=True)
class Model:
    """What `load` makes and `run` paints with.

    Attributes:
        name: the file's name, for sentences.
        session: ONNX Runtime's.
        layout: what the graph takes and gives.
        provider: where it runs, by our name.
    """

    name: str
    session: Any
    layout: Layout
    provider: str

    def paint(self, pixels: Pixels, marks: Marks, job: EngineJob) -> Pixels:
        """Let the graph fill what is marked.

        Args:
            pixels: H×W×3 bytes, of the graph's size.
            marks: H×W, true is what to fill.
            job: whose cancel ends the run, at the next node of the graph.

        Returns:
            H×W×3 bytes.

        Raises:
            Cancelled: the job is to end.
            EngineError: the graph fails, or gives no picture of this size.
            OutOfMemory: it does not fit.
        """
        feeds = self.layout.feeds(pixels, marks)
        try:
            with _ended_by(job) as options:
                outputs = self.session.run([self.layout.output], feeds, options)
        except Exception as error:
            # A run that was told to end raises the same as one that failed.
            job.check_cancelled()
            # On the CPU the same graph fails on the same picture again.
            raise failure(error, f"{self.name} could not be run", retryable=self.provider != "cpu") from error
        return read_output(outputs[0], pixels, marks, model=self.name)


def load_model(
    model: ModelFiles, *, providers: Sequence[str] | None = None, threads: int | None = None, device: str | None = None
) -> Model:
    """Load the graph of a claim.

    Args:
        model: its files.
        providers: the only ones to use, by our names; None for what is installed.
        threads: CPU threads, None for one a core.
        device: where to run it, None for the first provider.

    Raises:
        EngineError: the file is refused, is none of this engine's, or a device fails.
        OutOfMemory: it does not fit.
    """
    path = model_file(model.files)
    check_file(path)
    chosen = choose(onnxruntime.get_available_providers(), wanted=providers, device=device)
    try:
        session = onnxruntime.InferenceSession(str(path), _options(chosen[0][0], threads), providers=chosen)
    except Exception as error:
        raise failure(error, f"{path.name} could not be loaded", retryable=len(chosen) > 1) from error
    # A provider whose driver is missing is left out by the library.
    first = session.get_providers()[0]
    name = next((ours for ours, theirs in PROVIDERS.items() if theirs == first), first)
    layout = read_layout(session.get_inputs(), session.get_outputs(), model=path.name)
    return Model(path.name, session, layout, name)


def model_file(files: Mapping[str, list[Path]]) -> Path:
    """The one file of a claim.

    Raises:
        EngineError: there is none with the role ``model``, or more than one file.
    """
    given = files.get("model", [])
    if len(given) != 1 or len(files) > 1:
        named = ", ".join(f"{path.name} ({role})" for role, paths in files.items() for path in paths) or "none"
        raise EngineError(
            f"onnx needs one file with the role model, the .onnx; the modelSource names {named}", retryable=False
        )
    return given[0]


def failure(error: Exception, doing: str, *, retryable: bool) -> EngineError:
    """An error of the library as ours: out of memory where it says so."""
    said = str(error)
    if isinstance(error, MemoryError) or any(
        word in said.lower() for word in ("allocate", "out of memory", "bad_alloc")
    ):
        return OutOfMemory(f"{doing}: {said or 'out of memory'}")
    return EngineError(f"{doing}: {said}", retryable=retryable)


def _options(first: str, threads: int | None) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.use_deterministic_compute = True
    options.intra_op_num_threads = threads or 0
    # The name of a file must not decide how it is read.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    if first == PROVIDERS["directml"]:
        # DirectML has no memory patterns: https://onnxruntime.ai/docs/execution-providers/DirectML-ExecutionProvider.html
        options.enable_mem_pattern = False
    return options


@contextmanager
def _ended_by(job: EngineJob) -> Iterator[Any]:
    """Run options whose run ends when the job is cancelled: another thread looks, since this one blocks."""
    options = onnxruntime.RunOptions()
    options.log_severity_level = _NOTHING
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(CANCEL_LOOK_SECS):
            if job.cancelled:
                options.terminate = True
                return

    watcher = threading.Thread(target=watch, name=f"onnx-cancel-{job.id}", daemon=True)
    watcher.start()
    try:
        yield options
    finally:
        is_over.set()
        watcher.join()
