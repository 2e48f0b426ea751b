"""The wire contract between worker and studio, as pydantic models and pure functions; no input or output."""
