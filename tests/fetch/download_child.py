"""One download in a process of its own: ``python download_child.py URL DEST ORIGIN``.

A line of JSON for each piece of news: ``{"done": N}`` while bytes come, ``{"size": N}`` at the end (null: somebody else
has brought it).
"""

import asyncio
import json
import sys
from pathlib import Path

from studio_worker.fetch.download import Downloader, DownloadSettings
from studio_worker.fetch.guard import Guard
from studio_worker.fetch.wanted import WantedFile


def say(**news: object) -> None:
    print(json.dumps(news), flush=True)


async def main(url: str, dest: str, origin: str) -> None:
    downloader = Downloader(lambda: Guard(origin), DownloadSettings, user_agent="child")
    wanted = WantedFile(url=url, dest=Path(dest), what="model file")
    got = await downloader.download(wanted, lambda done, total: say(done=done))
    say(size=got.size if got else None)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
