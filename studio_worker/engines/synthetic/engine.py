"""The synthetic engine, for first steps, demos and tests. It serves only jobs that name it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studio_worker.engines.base import Engine, EngineCapabilities, EngineJob, Isolation, PluginConfig, Result
from studio_worker.engines.hookspecs import hookimpl
from studio_worker.wire.kinds import TaskKind

if TYPE_CHECKING:
    from collections.abc import Callable

_SUFFIXES = {
    TaskKind.IMAGE: "image",
    TaskKind.LLM: "llm",
    TaskKind.AUDIO_STT: "stt",
    TaskKind.AUDIO_TTS: "tts",
    TaskKind.VIDEO: "video",
}


class SyntheticEngine(Engine):
    """Makes pictures, answers, transcripts, sound and video out of the SHA-256 of what was asked.

    The same task gives the same bytes on every machine with the same Pillow (and PyAV, for mp4 and webm).
    """

    name = "synthetic"
    sources = ("synthetic",)
    isolation: Isolation = "thread"
    deterministic = True

    def capabilities(self) -> EngineCapabilities:
        """All five kinds, under the ids that studios know."""
        return EngineCapabilities({kind: ["synthetic", f"synthetic-{end}"] for kind, end in _SUFFIXES.items()})

    def run(self, job: EngineJob) -> Result:
        """Make what the task asks for; each kind has a module of its own, imported when it is needed."""
        return _maker(job.task.kind)(job)


def _maker(kind: TaskKind) -> Callable[[EngineJob], Result]:
    match kind:
        case TaskKind.IMAGE:
            from studio_worker.engines.synthetic.picture import make_picture

            return make_picture
        case TaskKind.LLM:
            from studio_worker.engines.synthetic.answer import make_answer

            return make_answer
        case TaskKind.AUDIO_STT:
            from studio_worker.engines.synthetic.transcript import make_transcript

            return make_transcript
        case TaskKind.AUDIO_TTS:
            from studio_worker.engines.synthetic.speech import make_speech

            return make_speech
        case TaskKind.VIDEO:
            from studio_worker.engines.synthetic.video import make_video

            return make_video


@hookimpl
def studio_worker_engines(config: PluginConfig) -> list[Engine]:
    """The one engine of the core."""
    return [SyntheticEngine()]
