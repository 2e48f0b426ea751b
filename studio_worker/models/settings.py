"""What the operator's settings say about model files, and the store that keeps to them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from studio_worker.clock import Clock
from studio_worker.config import Config
from studio_worker.fetch.download import Downloader, DownloadSettings
from studio_worker.fetch.guard import Guard
from studio_worker.models.ledger import Ledger
from studio_worker.models.link_folders import link_root
from studio_worker.models.store import Store


def open_store(
    settings: Callable[[], Config],
    *,
    guard: Callable[[], Guard],
    user_agent: str,
    ledger: Ledger | None = None,
    clock: Clock | None = None,
    rng: Random | None = None,
) -> Store:
    """The store of the models folder. The state folder that it remembers in is the one of this moment.

    Args:
        settings: the settings of each moment.
        guard: which addresses may be asked.
        user_agent: the User-Agent header of downloads.
        ledger: the memory; that of the state folder by default.
        clock: time.
        rng: jitter of the pauses between tries.
    """
    state = settings().state_path
    downloader = Downloader(guard, lambda: downloads(settings()), user_agent=user_agent, clock=clock, rng=rng)
    return Store(
        lambda: settings().models_path,
        downloader=downloader,
        ledger=ledger or Ledger.of(state),
        quota_bytes=lambda: settings().models_quota_bytes,
        pinned=lambda: settings().pinned_models,
        links=link_root(state),
        clock=clock,
    )


def downloads(settings: Config) -> DownloadSettings:
    """The operator's word about downloads."""
    token = settings.hf_token.get_secret_value() if settings.hf_token is not None else None
    return DownloadSettings(hub_token=token, mirrors=settings.model_mirrors, is_offline=settings.models_offline)


def guard(settings: Config, *, closed: frozenset[tuple[str, int]] = frozenset()) -> Guard:
    """Which addresses may be asked.

    Args:
        settings: the settings of this moment.
        closed: host and port of this process's own listeners.
    """
    own = settings.urls.origin if settings.api_base_url is not None else None
    return Guard(own_origin=own, allow_private=settings.allow_private_urls, closed=closed)
