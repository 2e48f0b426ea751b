"""Engines that go wrong on purpose: slow, hanging, leaking, crashing, malformed, out of memory; the same way each time.

::

    from studio_worker.testing import chaos

    engine = chaos.crash(MyEngine(), how="exception", on_job=2)    # the second job fails, all others are MyEngine's
    async with Worker(config, engines=[engine]) as worker:
        ...

Each wraps any engine, or stands alone (``chaos.slow()``) as the engine ``chaos``, which serves every kind. They nest.
In a process of its own a fault runs as ``"studio_worker.testing.chaos:crash"``, from a factory in a module of the
test's, or through `in_process`, which writes that module.
"""

from studio_worker.testing.chaos.alone import Alone
from studio_worker.testing.chaos.crashes import crash
from studio_worker.testing.chaos.exhaustion import out_of_memory
from studio_worker.testing.chaos.fault import Fault
from studio_worker.testing.chaos.leaks import leak
from studio_worker.testing.chaos.malformation import malformed
from studio_worker.testing.chaos.modules import in_process
from studio_worker.testing.chaos.tally import Tally
from studio_worker.testing.chaos.turns import When
from studio_worker.testing.chaos.waits import hang, slow

__all__ = [
    "Alone",
    "Fault",
    "Tally",
    "When",
    "crash",
    "hang",
    "in_process",
    "leak",
    "malformed",
    "out_of_memory",
    "slow",
]
