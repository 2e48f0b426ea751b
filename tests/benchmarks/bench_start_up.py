"""How long the command takes to start, as multiples of a bare interpreter."""

import statistics
import subprocess
import sys
import time

import pytest

RUNS = 15
LIMITS = {"--version": 4.0, "--help": 12.0}
HEAVY = ("aiohttp", "numpy", "PIL", "pydantic", "onnxruntime", "faster_whisper", "piper")


def seconds(*arguments: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_the_command_starts_within_its_limit(option, report):
    bare, ours = [], []
    for _ in range(RUNS):
        bare.append(seconds("-c", "pass"))
        ours.append(seconds("-m", "studio_worker", option))
    ratio = statistics.median(ours) / statistics.median(bare)
    report(
        f"{option}: {ratio:.1f}x a bare interpreter ({statistics.median(ours) * 1000:.0f} ms, limit {LIMITS[option]}x)"
    )
    assert ratio <= LIMITS[option]


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_the_command_imports_nothing_heavy(option):
    script = f"""
import sys
sys.argv = ["studio-worker", {option!r}]
from studio_worker.__main__ import main
try:
    main()
except SystemExit:
    pass
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stderr.strip() == "[]"
