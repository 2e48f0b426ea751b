"""Piper for studio-worker: speech from text, source id `piper`."""

from studio_worker_piper.engine import PiperEngine, studio_worker_engines

__all__ = ["PiperEngine", "studio_worker_engines"]
