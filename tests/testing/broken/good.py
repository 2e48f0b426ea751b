"""An engine that keeps every rule: it answers, paints and writes down sound, by the SHA-256 of what it was asked."""

from __future__ import annotations

import hashlib
import struct
import wave
import zlib

from studio_worker import (
    BadInput,
    Engine,
    EngineCapabilities,
    EngineError,
    Estimate,
    ImageResult,
    LlmResult,
    TaskKind,
    TextDelta,
    TranscriptResult,
    UnsupportedTask,
)

MAGIC = b"good model\n"


class Good(Engine):
    name = "good"
    deterministic = True
    concurrency = 2
    kinds = (TaskKind.LLM,)

    def capabilities(self):
        return EngineCapabilities({kind: ["good:*"] for kind in self.kinds})

    def estimate(self, model):
        return Estimate(ram_bytes=1_000_000)

    def load(self, model):
        paths = model.files.get("model")
        if not paths:
            raise BadInput("the model has no file of the role 'model'")
        data = paths[0].read_bytes()
        if not data.startswith(MAGIC) or len(data) != len(MAGIC) + 1_000:
            raise EngineError(f"{paths[0].name} is no good model", retryable=False)
        return bytearray(data)

    def unload(self, loaded):
        loaded.clear()

    def run(self, job):
        job.progress(0, 2)
        job.check_cancelled()
        result = self.make(job)
        job.meta["made"] = "well"
        job.progress(2, 2)
        return result

    def make(self, job):
        return {TaskKind.LLM: self.answer, TaskKind.IMAGE: self.paint, TaskKind.AUDIO_STT: self.listen}[job.task.kind](
            job
        )

    def answer(self, job):
        return completion(job, " ".join(self.words(job)))

    def words(self, job):
        digest = hashlib.sha256(repr((job.seed, job.task.messages)).encode()).hexdigest()
        return [digest[at : at + 8] for at in range(0, 64, 8)]

    def paint(self, job):
        if job.task.ext != "png":
            raise UnsupportedTask(f"png alone is made here, not {job.task.ext}")
        if "image" not in job.inputs:
            raise BadInput("task.initImageUrl: a picture is needed")
        seed = hashlib.sha256(job.inputs["image"].read_bytes()).digest()
        return ImageResult(png(job.task.width, job.task.height, seed), "png")

    def listen(self, job):
        try:
            with wave.open(str(job.inputs["audio"])) as file:
                secs = file.getnframes() / file.getframerate()
        except (wave.Error, EOFError) as error:
            raise BadInput(f"task.inputUrl: no sound: {error}") from None
        return TranscriptResult({"text": "a hum", "language": "en", "duration": secs})


class Streaming(Good):
    def stream(self, job):
        words = self.words(job) if job.task.kind is TaskKind.LLM else []
        for number, word in enumerate(words):
            job.check_cancelled()
            yield TextDelta(text=word if number == 0 else f" {word}")
        yield self.run(job)


class OnLoop(Good):
    isolation = "loop"

    async def run(self, job):
        return Good.run(self, job)


def completion(job, text):
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return LlmResult({"object": "chat.completion", "model": job.model, "choices": [choice], "usage": usage})


def png(width, height, seed):
    row = b"\0" + (seed * (width * 3 // len(seed) + 1))[: width * 3]

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(row * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def make():
    return Streaming()


class Everything(Streaming):
    kinds = (TaskKind.LLM, TaskKind.IMAGE, TaskKind.AUDIO_STT)


def make_everything():
    return Everything()


def make_on_loop():
    return OnLoop()
