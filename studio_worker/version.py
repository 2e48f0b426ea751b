"""The versions of studio-worker and of its plugin API, in a module that imports nothing."""

__version__ = "0.1.0"
API_VERSION = 1
"""The plugin API that this release serves; an engine that asks for another is named and skipped."""
