"""A fault as ``"package.module:factory"``: what a worker needs to give an engine a process of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from studio_worker.testing.chaos.crashes import crash
from studio_worker.testing.chaos.exhaustion import out_of_memory
from studio_worker.testing.chaos.fault import Fault
from studio_worker.testing.chaos.leaks import leak
from studio_worker.testing.chaos.malformation import malformed
from studio_worker.testing.chaos.waits import hang, slow

FAULTS: Mapping[str, Callable[..., Fault]] = {
    fault.__name__: fault for fault in (slow, hang, leak, crash, malformed, out_of_memory)
}

_SOURCE = '''"""A fault for one test, written by studio_worker.testing.chaos."""

import json

from studio_worker.engines.loading import engines_of
from studio_worker.testing import chaos

OPTIONS = json.loads({options!r})


def make():
    """The engines to spoil, each in its fault."""
    return [chaos.{fault}(engine, **OPTIONS) for engine in {engines}]
'''


def in_process(folder: Path | str, fault: str, engine: str | None = None, **options: Any) -> str:
    """Write a module that makes a faulty engine; what to give as ``Worker(engines=[…])``.

    Jobs are counted in a file beside the module, unless `tally` names another: the count goes on where the fault ends
    the process.

    Args:
        folder: where the module is written. It must be on `sys.path` (in pytest:
            ``monkeypatch.syspath_prepend(tmp_path)``); the engine's process gets the same path.
        fault: ``crash``, ``hang``, ``leak``, ``malformed``, ``out_of_memory`` or ``slow``.
        engine: the engine to spoil, as ``"package.module:factory"``; None for an engine that stands alone.
        **options: those of the fault.

    Returns:
        ``"module:make"``.

    Raises:
        ValueError: there is no such fault, the factory is not written as ``package.module:factory``, or an option's
            value is none that is allowed.
        TypeError: there is no such option, its value is of the wrong type or no plain one, or `engine` is an object.
    """
    if fault not in list(FAULTS):
        raise ValueError(f"there is no fault {fault!r}; there are {', '.join(FAULTS)}")
    if engine is not None and not isinstance(engine, str):
        raise TypeError(f"engine={engine!r:.100}: 'package.module:factory' is needed, since no object gets a process")
    if engine is not None and not all(engine.partition(":")):
        raise ValueError(f"{engine!r} is no factory: 'package.module:factory' is needed")
    # Made here once: an option that is wrong is refused where it is given, not in the engine's process.
    FAULTS[fault](None, **options)
    for option, value in options.items():
        if not _is_plain(value):
            raise TypeError(f"{option}={value!r:.100}: a plain value is needed, since a module is written of it")
    folder = Path(folder)
    given = {key: str(value) if isinstance(value, Path) else value for key, value in options.items()}
    named = json.dumps([str(folder), fault, engine, given], sort_keys=True)
    module = f"chaos_{fault}_{hashlib.sha256(named.encode()).hexdigest()[:12]}"
    text = json.dumps({"tally": str(folder / f"{module}.tally")} | given)
    engines = "[None]" if engine is None else f"engines_of({engine!r})"
    source = _SOURCE.format(options=text, fault=fault, engines=engines)
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    return f"{module}:make"


def _is_plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (str, int, float, Path))
