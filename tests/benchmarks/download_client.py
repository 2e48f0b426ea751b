"""One download, timed: ``python download_client.py URL DEST``; prints seconds, and MiB of memory before and at most."""

import asyncio
import json
import sys
import time
from pathlib import Path

from studio_worker.fetch.download import Downloader, DownloadSettings
from studio_worker.fetch.guard import Guard
from studio_worker.fetch.wanted import WantedFile


def peak_mib() -> float:
    """The most memory that this program has had; getrusage counts what its parent had before it too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


async def main(url: str, dest: Path) -> None:
    origin = url.rsplit("/", 1)[0]
    downloader = Downloader(lambda: Guard(origin), DownloadSettings, user_agent="bench")
    idle = peak_mib()
    begun = time.perf_counter()
    got = await downloader.download(WantedFile(url=url, dest=dest, what="model file"))
    seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": seconds, "sha256": got.sha256, "idle_mib": idle, "peak_mib": peak_mib()}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
