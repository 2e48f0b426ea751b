"""`studio-worker register`: show or reset the registration; asks no studio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from studio_worker.cli import output
from studio_worker.cli.invocation import Invocation, pass_invocation

if TYPE_CHECKING:
    from studio_worker.config import ConfigSource
    from studio_worker.state import CredentialStore


@click.command(
    short_help="Show or reset this machine's registration.",
    epilog="Example: studio-worker register --reset --api-base-url https://studio.example/",
)
@click.option("--reset", is_flag=True, help="Forget the credentials: the next `run` asks for a new approval.")
@click.option("--api-base-url", metavar="URL", help="Write this studio's address into the config file.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@pass_invocation
def register(invocation: Invocation, reset: bool, api_base_url: str | None, as_json: bool) -> None:
    """Show or reset this machine's registration.

    Asks no studio: `studio-worker run` registers by itself. Resetting removes worker id, token, install id and a
    waiting request from the credentials file and from an older worker's config file; comments there are kept. The
    worker must be stopped for it.
    """
    source = invocation.settings()
    if reset:
        _forget(source)
    if api_base_url is not None:
        _move(source, api_base_url)
        if reset:
            _forget(source)
    found = registration(source)
    output.record(found, as_json=as_json)
    if found["registration"] != "approved" and found["studio"]:
        output.note("`studio-worker run` registers with the studio and waits for its operator's approval")


def registration(source: ConfigSource) -> Mapping[str, Any]:
    """How far the registration with the configured studio is, from the files alone; without secrets.

    Raises:
        ConfigError: the credentials file cannot be used.
    """
    store = credential_store(source)
    if store is None:
        return {"studio": None, "registration": "none: local jobs only", "workerId": None, "requestId": None}
    known = store.peek()
    return {
        "studio": known.origin,
        "registration": known.state,
        "workerId": known.worker_id,
        "requestId": known.registration_request_id,
    }


def credential_store(source: ConfigSource) -> CredentialStore | None:
    """The credentials for the configured studio; None without one."""
    from studio_worker.state import CredentialStore

    settings = source.current
    if settings.api_base_url is None:
        return None
    return CredentialStore(settings.state_path, settings.urls.origin, legacy_config=source.path)


def _forget(source: ConfigSource) -> None:
    from studio_worker.state import StateLock

    store = credential_store(source)
    if store is not None:
        with StateLock(source.current.state_path):
            store.reset()


def _move(source: ConfigSource, address: str) -> None:
    from studio_worker.config import BadSetting

    try:
        settings = source.set("api_base_url", address)
    except BadSetting as error:
        raise click.BadParameter(error.problem, param_hint="--api-base-url") from None
    if settings.api_base_url != address:
        output.note("STUDIO_WORKER_API_BASE_URL is set and wins over the config file")
