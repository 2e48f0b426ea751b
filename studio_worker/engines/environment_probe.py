"""What an environment holds, said by its own interpreter: a script that needs nothing of what is installed there.

It is handed to that interpreter as text and prints one line of JSON, the last that it prints; it imports no plugin. The
interpreter may be too old for this package, so it is written in the Python of all versions from 3.7 on.
"""

from __future__ import annotations

import json
import sys

OLDEST = (3, 11)
"""The oldest Python that studio-worker runs on."""

MAX_PLUGINS = 1_000


def look() -> dict:  # type: ignore[type-arg]  # `Any` would be an import for a type alone
    """The interpreter's version and path; where it is new enough also its studio-worker and its plugins."""
    said = {"python": list(sys.version_info[:3]), "path": [entry for entry in sys.path if isinstance(entry, str)]}
    if sys.version_info >= OLDEST:
        said["worker"] = _worker()
        said["plugins"] = _plugins()
    return said


def _worker() -> object:
    """The versions of the package there; None where it is not installed, a sentence where it cannot be imported."""
    try:
        from studio_worker import version
    except ModuleNotFoundError as error:
        return None if error.name == "studio_worker" else str(error)
    except Exception as error:  # noqa: BLE001 - whatever a damaged installation raises is what is wrong with it
        return "%s: %s" % (type(error).__name__, error)  # noqa: UP031 - as old as the file's promise
    return {"version": str(version.__version__), "protocol": getattr(version, "CHILD_PROTOCOL", None)}


def _plugins() -> list:  # type: ignore[type-arg]  # as above
    """The entry points of plugins, the first of a distribution's name; a damaged list costs itself alone."""
    from importlib import metadata

    found = {}
    for package in metadata.distributions():
        try:
            name, version = str(package.metadata["Name"]), str(package.version)
            points = [entry for entry in package.entry_points if entry.group == "studio_worker"]
        except Exception:  # noqa: BLE001, S112 - the parser raises whatever a damaged file makes it stumble over
            continue
        if name not in found:
            found[name] = [
                {"name": point.name, "value": point.value, "distribution": name, "version": version} for point in points
            ]
    return [point for points in found.values() for point in points][:MAX_PLUGINS]


if __name__ == "__main__":
    print(json.dumps(look()))
