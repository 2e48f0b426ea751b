"""The versions of studio-worker, of its plugin API and of its engines' pipe, in a module that imports nothing."""

__version__ = "0.1.0"
API_VERSION = 1
"""The plugin API that this release serves; an engine that asks for another is named and skipped."""

CHILD_PROTOCOL = 1
"""What the worker and the process of an engine say to each other; both sides of a pipe must have the same number."""
