"""The floor: the least that aiohttp can do for one job, the same frames and the same bytes and nothing else.

Started as ``python floor.py {json|upload} URL``.
"""

import asyncio
import json
import sys

import aiohttp
from noop_engine import COMPLETION, PICTURE

PREFIX = "/graphics/api"
META = json.dumps({"seed": 2**62, "engine": "noop", "model": "noop", "seconds": 0.0})
CAPABILITIES = {"machineName": "floor", "engine": "multi", "taskKinds": ["llm", "image"], "autoEnabled": True}


async def main(mode: str, url: str) -> None:
    headers = {"Authorization": "Bearer t-1"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.ws_connect(f"{url}{PREFIX}/workers/floor/connect", protocols=("studio-worker-v1",), compress=0) as ws,
    ):
        await ws.send_str(json.dumps({"type": "hello", "authToken": "t-1", "capabilities": CAPABILITIES}))
        async for message in ws:
            frame = json.loads(message.data)
            if frame["type"] != "offer":
                continue
            job_id = frame["claim"]["jobId"]
            await ws.send_str(json.dumps({"type": "accept", "jobId": job_id}))
            if mode == "json":
                prompt = frame["claim"]["task"]["messages"][-1]["content"]
                done = {"type": "completeJson", "jobId": job_id, "result": COMPLETION, "prompt": prompt}
                await ws.send_str(json.dumps(done))
            else:
                form = aiohttp.FormData()
                form.add_field("prompt", "ping")
                form.add_field("ext", "png")
                form.add_field("generationMeta", META)
                form.add_field("image", PICTURE, filename=f"{job_id}.png", content_type="image/png")
                async with http.post(f"{url}{PREFIX}/workers/floor/jobs/{job_id}/complete", data=form) as answer:
                    await answer.read()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
