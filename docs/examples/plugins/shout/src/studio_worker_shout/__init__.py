"""Answers in capitals: the smallest complete engine."""

from studio_worker import Engine, EngineCapabilities, EngineJob, LlmResult, LlmTask, TaskKind, UnsupportedTask, hookimpl


class ShoutEngine(Engine):
    """Gives the last message back in capitals; a token is a word."""

    name = "shout"
    isolation = "thread"
    deterministic = True

    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: ["shout-1"]})

    def run(self, job: EngineJob):
        if not isinstance(job.task, LlmTask):
            raise UnsupportedTask("shout answers llm tasks alone")
        words = job.task.messages[-1].content.upper().split()
        said = words[: job.task.max_tokens]
        heard = sum(len(message.content.split()) for message in job.task.messages)
        tokens = {"prompt_tokens": heard, "completion_tokens": len(said)}
        reason = "stop" if said == words else "length"
        return LlmResult.of(" ".join(said), model=job.model, finish_reason=reason, **tokens)


@hookimpl
def studio_worker_engines(config):
    return [ShoutEngine()]
