"""ONNX graphs for studio-worker: removes what a mask marks, source id `onnx`."""

from studio_worker_onnx.engine import OnnxEngine, studio_worker_engines

__all__ = ["OnnxEngine", "studio_worker_engines"]
