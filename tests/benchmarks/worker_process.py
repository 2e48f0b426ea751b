"""Our worker with the no-op engine, in a process of its own. Started as ``python worker_process.py URL STATE_DIR``."""

import asyncio
import sys

from noop_engine import NoopEngine

from studio_worker import Config, Worker


async def main(url: str, state_dir: str) -> None:
    config = Config(api_base_url=url, state_dir=state_dir, register_poll_secs=0.05, allow_private_urls=True)
    async with Worker(config, engines=[NoopEngine()]) as worker:
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
