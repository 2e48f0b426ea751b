"""The engine of `bench_host`: as `noop_engine`, by its factory in a process."""

from noop_engine import COMPLETION, PICTURE

from studio_worker import Engine, EngineCapabilities, EngineJob, ImageResult, LlmResult, TaskKind


class ProcessEngine(Engine):
    """Gives back what was made beforehand."""

    name = "bench"

    def capabilities(self) -> EngineCapabilities:
        return EngineCapabilities({TaskKind.LLM: ["bench"], TaskKind.IMAGE: ["bench"]})

    def run(self, job: EngineJob) -> LlmResult | ImageResult:
        return LlmResult(COMPLETION) if job.task.kind is TaskKind.LLM else ImageResult(PICTURE, "png")
