"""The studio's parts, wired once: each knows only those it is given."""

from __future__ import annotations

from dataclasses import dataclass

from studio_worker.clock import Clock
from studio_worker.studio.access import Access
from studio_worker.studio.blobs import Blobs
from studio_worker.studio.events import Hub
from studio_worker.studio.guard import HostRule
from studio_worker.studio.job_routes import JobRoutes
from studio_worker.studio.links import ResultLinks
from studio_worker.studio.lost_claims import LostClaims
from studio_worker.studio.model_routes import ModelRoutes
from studio_worker.studio.offers import Offers
from studio_worker.studio.page_views import PageViews
from studio_worker.studio.pages import Pages
from studio_worker.studio.peer import Roster
from studio_worker.studio.presence import Presence
from studio_worker.studio.registration import Registrar
from studio_worker.studio.session import Sessions
from studio_worker.studio.settling import Settling
from studio_worker.studio.signing import Signer
from studio_worker.studio.store.port import Store
from studio_worker.studio.timings import Limits, Timings
from studio_worker.studio.uploads import Uploads
from studio_worker.studio.view_routes import ViewRoutes
from studio_worker.studio.worker_logs import WorkerLogs
from studio_worker.studio.worker_routes import WorkerRoutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What `app.create_app` routes to and what the server runs."""

    store: Store
    blobs: Blobs
    hub: Hub
    offers: Offers
    presence: Presence
    access: Access
    host_rule: HostRule
    registrar: Registrar
    sessions: Sessions
    uploads: Uploads
    job_routes: JobRoutes
    worker_routes: WorkerRoutes
    model_routes: ModelRoutes
    view_routes: ViewRoutes
    pages: Pages


def build(
    *,
    store: Store,
    blobs: Blobs,
    signing_key: bytes,
    admin_token: str,
    host_rule: HostRule,
    auto_approve: bool,
    clock: Clock,
    timings: Timings,
    limits: Limits,
) -> Parts:
    """All parts over one store."""
    signer = Signer(signing_key)
    links = ResultLinks(signer, timings.link_secs)
    access = Access(admin_token, signer, lambda: clock.now().timestamp(), timings.login_secs)
    roster = Roster()
    hub = Hub(limits.event_queue)
    offers = Offers(store, roster, hub, links, clock)
    settling = Settling(store, roster, hub, offers, clock, max_attempts=limits.max_attempts)
    uploads = Uploads(store, blobs, settling, timings, limits)
    lost_claims = LostClaims(store, settling, hub, uploads.is_under_way, clock, max_losses=limits.max_attempts)
    presence = Presence(store, roster, hub, offers, lost_claims, clock, timings)
    registrar = Registrar(store, hub, clock, timings, limits, auto_approve=auto_approve)
    logs = WorkerLogs(store, hub, limits.log_rows)
    return Parts(
        store=store,
        blobs=blobs,
        hub=hub,
        offers=offers,
        presence=presence,
        access=access,
        host_rule=host_rule,
        registrar=registrar,
        sessions=Sessions(store, presence, settling, logs, clock, timings, limits),
        uploads=uploads,
        job_routes=JobRoutes(store, blobs, roster, hub, offers, settling, links, access, clock, timings, limits),
        worker_routes=WorkerRoutes(store, roster, hub, registrar, access, clock, timings, limits),
        model_routes=ModelRoutes(store, hub, access, clock, timings, limits),
        view_routes=ViewRoutes(store, hub, access, timings, limits),
        pages=Pages(PageViews(store, roster, clock), access, timings, limits),
    )
