"""Whisper for studio-worker: text from speech, source id `whisper`."""

from studio_worker_whisper.engine import WhisperEngine, studio_worker_engines

__all__ = ["WhisperEngine", "studio_worker_engines"]
