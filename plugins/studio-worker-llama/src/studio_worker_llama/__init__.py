"""llama.cpp for studio-worker: answers from GGUF language models, source id `llama-cpp`."""

from studio_worker_llama.engine import LlamaEngine, studio_worker_engines

__all__ = ["LlamaEngine", "studio_worker_engines"]
