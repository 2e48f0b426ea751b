"""A FastAPI app with a worker in it: POST /pictures {"prompt": "a lighthouse"} answers with a PNG.

    uvicorn fastapi_app:app

Ctrl-C: uvicorn lets the requests finish, then the end of `lifespan` lets the worker finish its jobs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, TypedDict

from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import BaseModel, StringConstraints

from studio_worker import Config, ImageResult, ImageTask, JobError, Worker


class State(TypedDict):
    """What lives as long as the app does."""

    worker: Worker


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[State]:
    """The worker starts before the first request and stops after the last."""
    config = Config(api_base_url=None, state_dir=Path("worker-state"), max_concurrent_jobs=2)
    async with Worker(config) as worker:
        yield {"worker": worker}


app = FastAPI(lifespan=lifespan)


class Wish(BaseModel):
    """The body of a request."""

    prompt: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2_000)]


@app.post("/pictures")
async def picture(wish: Wish, request: Request) -> Response:
    """Draw a picture."""
    worker: Worker = request.state.worker
    try:
        result = await worker.submit(ImageTask(prompt=wish.prompt, ext="png"), model="synthetic-image")
    except JobError as error:
        raise HTTPException(503 if error.retryable else 422, str(error)) from None
    assert isinstance(result, ImageResult)
    return Response(result.data, media_type="image/png")


@app.get("/ready")
async def ready(request: Request, response: Response) -> dict[str, str]:
    """Whether a job would be taken now; for a load balancer."""
    worker: Worker = request.state.worker
    found = worker.readiness()
    response.status_code = 200 if found.is_ready else 503
    return {"code": found.code, "detail": found.detail}
