"""Takes it that sound is sound."""

import wave

from broken.good import Good

from studio_worker import TaskKind, TranscriptResult


class Mine(Good):
    kinds = (TaskKind.AUDIO_STT,)

    def listen(self, job):
        with wave.open(str(job.inputs["audio"])) as file:
            secs = file.getnframes() / file.getframerate()
        return TranscriptResult({"text": "a hum", "language": "en", "duration": secs})


def make():
    return Mine()
