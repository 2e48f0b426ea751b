"""Runs a client process against the studio process and takes the times."""

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Measured:
    """Seconds of single jobs, by who ran them."""

    times: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        return statistics.median(self.times) * 1000


def run_client(mode: str, jobs: int, client: Sequence[str], *, warm_up: int = 100) -> Measured:
    """Let a client process work through `jobs` jobs of a studio process; the first `warm_up` are not counted."""
    studio = subprocess.Popen(
        [sys.executable, HERE / "bench_studio.py", mode, str(jobs + warm_up)], stdout=subprocess.PIPE, text=True
    )
    try:
        url = json.loads(studio.stdout.readline())["url"]
        worker = subprocess.Popen([sys.executable, HERE / client[0], *(part.format(url=url) for part in client[1:])])
        try:
            return Measured(tuple(json.loads(studio.stdout.readline())[warm_up:]))
        finally:
            worker.kill()
            worker.wait()
    finally:
        studio.kill()
        studio.wait()
        studio.stdout.close()
