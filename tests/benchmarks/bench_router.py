"""Routing is a look-up: its time does not grow with the number of models."""

import statistics
import timeit

from studio_worker.engines.description import EngineDescription
from studio_worker.engines.router import Routes
from studio_worker.wire.kinds import TaskKind

SIZES = (10, 1_000, 100_000)


def routes(models: int) -> Routes:
    engines = max(1, models // 1_000)
    share = models // engines
    return Routes.build(
        [
            EngineDescription(
                name=f"engine-{number}",
                distribution="bench",
                version="1",
                plugin="bench",
                sources=(f"source-{number}",),
                models={TaskKind.LLM: tuple(f"model-{number}-{index}" for index in range(share))},
            )
            for number in range(engines)
        ]
    )


def pick_us(table: Routes, model: str, source: str | None) -> float:
    runs = timeit.repeat(lambda: table.pick(TaskKind.LLM, model, source), number=2_000, repeat=7)
    return statistics.median(runs) / 2_000 * 1e6


def test_a_pick_takes_as_long_among_100_000_models_as_among_10(report):
    tables = {size: routes(size) for size in SIZES}
    for match, model, source in (("source", "anything", "source-0"), ("model", "model-0-0", None)):
        times = {size: pick_us(table, model, source) for size, table in tables.items()}
        report(f"pick by {match}: " + ", ".join(f"{size:,} models {time:.2f} us" for size, time in times.items()))
        assert max(times.values()) <= 2 * min(times.values())
