"""Every route of the studio, put together."""

from __future__ import annotations

from aiohttp import web

from studio_worker.studio.answers import errors_to_answers
from studio_worker.studio.guard import guard
from studio_worker.studio.parts import Parts
from studio_worker.wire.urls import PREFIX


def create_app(parts: Parts) -> web.Application:
    """The studio's web application over its parts."""
    app = web.Application(middlewares=[errors_to_answers, guard(parts.host_rule)])
    jobs, workers, models, views = parts.job_routes, parts.worker_routes, parts.model_routes, parts.view_routes
    registrar, pages = parts.registrar, parts.pages
    app.add_routes(
        [
            web.get("/healthz", views.health),
            web.get(f"{PREFIX}/healthz", views.health),
            web.post(f"{PREFIX}/workers/register-request", registrar.ask),
            web.get(f"{PREFIX}/workers/register-requests/{{request_id}}", registrar.poll),
            web.get(f"{PREFIX}/workers/{{worker_id}}/connect", parts.sessions.serve),
            web.post(f"{PREFIX}/workers/{{worker_id}}/jobs/{{job_id}}/complete", parts.uploads.complete),
            web.get(f"{PREFIX}/workers", workers.list),
            web.get(f"{PREFIX}/workers/pending", workers.pending),
            web.post(f"{PREFIX}/workers/pending/{{request_id}}/approve", workers.approve),
            web.post(f"{PREFIX}/workers/pending/{{request_id}}/reject", workers.reject),
            web.get(f"{PREFIX}/workers/{{worker_id}}", workers.show),
            web.delete(f"{PREFIX}/workers/{{worker_id}}", workers.delete),
            web.post(f"{PREFIX}/jobs", jobs.add),
            web.get(f"{PREFIX}/jobs", jobs.list),
            web.get(f"{PREFIX}/jobs/{{job_id}}", jobs.show),
            web.get(f"{PREFIX}/jobs/{{job_id}}/result", jobs.result),
            web.get(f"{PREFIX}/jobs/{{job_id}}/preview", jobs.preview),
            web.post(f"{PREFIX}/jobs/{{job_id}}/cancel", jobs.cancel),
            web.post(f"{PREFIX}/jobs/{{job_id}}/retry", jobs.retry),
            web.get(f"{PREFIX}/models", models.list),
            web.post(f"{PREFIX}/models", models.add),
            web.get(f"{PREFIX}/models/{{model_id}}", models.show),
            web.put(f"{PREFIX}/models/{{model_id}}", models.put),
            web.delete(f"{PREFIX}/models/{{model_id}}", models.delete),
            web.get(f"{PREFIX}/logs", views.logs),
            web.get(f"{PREFIX}/events", views.events),
        ]
    )
    pages.add_to(app)
    return app
