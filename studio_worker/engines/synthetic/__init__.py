"""The built-in engine: deterministic real bytes for every kind of job, with no model and no GPU."""

from studio_worker.engines.synthetic.engine import SyntheticEngine, studio_worker_engines

__all__ = ["SyntheticEngine", "studio_worker_engines"]
