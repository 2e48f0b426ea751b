"""Runs client processes against the studio process and takes the times."""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).parent


def run_clients(mode: str, jobs: int, *clients: Sequence[str]) -> dict[str, list[float]]:
    """Let client processes work through `jobs` jobs each, in turns: by worker id, the seconds of each job."""
    with ExitStack() as stack:
        studio = _started(stack, [HERE / "bench_studio.py", mode, str(jobs), str(len(clients))], subprocess.PIPE)
        url = json.loads(studio.stdout.readline())["url"]
        for client in clients:
            _started(stack, [HERE / client[0], *(part.format(url=url) for part in client[1:])], None)
        return json.loads(studio.stdout.readline())


def _started(stack: ExitStack, arguments: Sequence[str | Path], stdout: int | None) -> subprocess.Popen[str]:
    process = stack.enter_context(subprocess.Popen([sys.executable, *arguments], stdout=stdout, text=True))
    stack.callback(process.kill)
    return process
