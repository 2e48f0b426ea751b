"""The engine: a conversation goes in, an answer comes out."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

from studio_worker import (
    Available,
    Engine,
    EngineCapabilities,
    EngineJob,
    Estimate,
    LlmResult,
    ModelFiles,
    PluginConfig,
    TaskKind,
    TextDelta,
    Unavailable,
    UnsupportedTask,
    hookimpl,
)
from studio_worker_llama.settings import Settings, read_settings

if TYPE_CHECKING:
    from studio_worker_llama.generation import Model
    from studio_worker_llama.placing import Placement

REMEDY = (
    "pip install llama-cpp-python (it compiles llama.cpp, which needs a C++ compiler and cmake; for a GPU set first "
    "CMAKE_ARGS=-DGGML_CUDA=on, -DGGML_METAL=on or -DGGML_VULKAN=on)"
)


class LlamaEngine(Engine):
    """Answers conversations with a GGUF model, on the CPU or on a GPU that llama.cpp was built for.

    The model file of a claim is one ``.gguf`` with the role ``model``, or all parts of one that is split.

    Args:
        settings: the operator's; the CPU alone where nothing is set.
    """

    name = "llama"
    sources = ("llama-cpp",)

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        # GPUs add up in an order of their own, and without a number of layers the worker's device decides.
        self.deterministic = self._settings.gpu_layers == 0

    def capabilities(self) -> EngineCapabilities:
        """Any language model that a claim brings."""
        return EngineCapabilities({TaskKind.LLM: ["llama-cpp:*"]})

    def availability(self) -> Available | Unavailable:
        """Whether llama-cpp-python is installed."""
        if find_spec("llama_cpp") is None:
            return Unavailable("the package llama-cpp-python is not installed", REMEDY)
        return Available()

    def estimate(self, model: ModelFiles) -> Estimate:
        """The files, the context's cache and the buffers, by the file's own head; nothing is loaded.

        Raises:
            EngineError: the file is no language model.
        """
        from studio_worker_llama.weights import context_tokens, estimate_bytes, find_weights

        weights = find_weights(model.files, model.dir)
        context = context_tokens(model.options.context_size, weights.trained_context, self._settings)
        return estimate_bytes(weights, context, self._settings.batch, self._placement(model).gpu_layers)

    def load(self, model: ModelFiles) -> Model:
        """Load the model and compile its chat template.

        Raises:
            EngineError: no language model, or one that llama.cpp does not take.
            OutOfMemory: it does not fit.
        """
        from studio_worker_llama.chat import ChatTemplate
        from studio_worker_llama.generation import Model
        from studio_worker_llama.native import NativeModel
        from studio_worker_llama.weights import context_tokens, find_weights, good_threads

        settings, weights = self._settings, find_weights(model.files, model.dir)
        native = NativeModel(
            weights.first,
            context=context_tokens(model.options.context_size, weights.trained_context, settings),
            batch=settings.batch,
            threads=min(filter(None, (settings.threads, model.options.threads)), default=good_threads()),
            placement=self._placement(model),
        )
        try:
            template = ChatTemplate(
                native.chat_template, bos=native.token_text(native.bos), eos=native.token_text(native.eos)
            )
        except BaseException:
            native.close()
            raise
        return Model(native, template, settings)

    def _placement(self, model: ModelFiles) -> Placement:
        from studio_worker_llama.native import has_gpu_support
        from studio_worker_llama.placing import place

        return place(model.options.device, self._settings.gpu_layers, has_gpu_support=has_gpu_support())

    def unload(self, loaded: Model) -> None:
        """Give the memory back."""
        loaded.close()

    def stream(self, job: EngineJob) -> Iterator[TextDelta | LlmResult]:
        """The answer's pieces as they come, then the whole.

        Raises:
            BadInput: the prompt doesn't fit, the template refuses it, or the schema cannot be kept.
            EngineError: the template breaks its sandbox, or llama.cpp failed.
        """
        from studio_worker import LlmTask
        from studio_worker_llama.generation import Generation

        if not isinstance(job.task, LlmTask):
            raise UnsupportedTask(f"llama-cpp serves llm, not {job.task.kind}")
        generation = Generation(job.loaded, job, job.task)
        yield from generation.deltas()
        yield LlmResult(generation.completion.to_json(job.model))

    def run(self, job: EngineJob) -> LlmResult:
        """The whole answer; raises as `stream` does."""
        for part in self.stream(job):
            if isinstance(part, LlmResult):
                return part
        raise AssertionError("a stream ends with its result")


@hookimpl
def studio_worker_engines(config: PluginConfig) -> list[Engine]:
    """The engine, as ``[plugins.llama]`` sets it."""
    return [LlamaEngine(read_settings(config.plugin))]
