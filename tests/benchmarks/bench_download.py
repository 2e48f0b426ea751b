"""A download with its hash against `curl | sha256sum`, in turns, from one server that both share."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from measuring import HERE

SIZE = 2**30
ROUNDS = 3
MIN_RATIO = 0.9
MAX_MORE_MIB = 32
MIB = 2**20
MEMORY = Path("/dev/shm")

pytestmark = [
    pytest.mark.timeout(1_200),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is the measure"),
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a file of 1 GiB."""
    path = tmp_path_factory.mktemp("source") / "file"
    block = os.urandom(MIB)
    with path.open("wb") as file:
        for _ in range(SIZE // MIB):
            file.write(block)
    server = subprocess.Popen([sys.executable, HERE / "file_server.py", path], stdout=subprocess.PIPE, text=True)
    yield f"http://127.0.0.1:{server.stdout.readline().strip()}/file"
    server.kill()
    server.wait()
    server.stdout.close()
    path.unlink()


def by_curl(url: str, dest: Path, *, writes: bool) -> dict:
    keep = f"tee {dest} | " if writes else ""
    begun = time.perf_counter()
    script = f"set -o pipefail; curl -sSf {url} | {keep}sha256sum" + (f"; sync {dest}" if writes else "")
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return {"seconds": time.perf_counter() - begun, "sha256": run.stdout.split()[0]}


def by_us(url: str, dest: Path) -> dict:
    run = subprocess.run(
        [sys.executable, HERE / "download_client.py", url, dest], capture_output=True, text=True, check=True
    )
    return json.loads(run.stdout)


def compare(url: str, folder: Path, report, where: str, *, writes: bool) -> None:
    curl, ours = [], []
    for number in range(ROUNDS):
        dest = folder / f"file-{number}"
        curl.append(by_curl(url, folder / "curl", writes=writes))
        ours.append(by_us(url, dest))
        dest.unlink()
        assert ours[-1]["sha256"] == curl[-1]["sha256"]
    theirs, mine = (statistics.median(each["seconds"] for each in found) for found in (curl, ours))
    more = max(each["peak_mib"] - each["idle_mib"] for each in ours)
    report(
        f"1 GiB {where}: {SIZE / MIB / mine:,.0f} MiB/s, {theirs / mine:.2f} of the speed of curl | sha256sum "
        f"({SIZE / MIB / theirs:,.0f} MiB/s); {more:.0f} MiB of memory on top of {ours[-1]['idle_mib']:.0f}"
    )
    assert theirs / mine >= MIN_RATIO
    assert more <= MAX_MORE_MIB


def test_a_download_into_memory_keeps_up_with_curl_and_a_hash(source: str, report) -> None:
    folder = MEMORY / f"bench-download-{os.getpid()}"
    folder.mkdir()
    try:
        compare(source, folder, report, "into memory", writes=False)
    finally:
        shutil.rmtree(folder)


def test_a_download_onto_the_disk_keeps_up_with_curl_a_file_and_a_hash(source: str, report, tmp_path: Path) -> None:
    compare(source, tmp_path, report, "onto the disk (both write and sync)", writes=True)
