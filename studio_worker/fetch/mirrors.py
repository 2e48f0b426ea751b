"""Where a file may be asked for instead: the operator's mirrors for the hosts that studios name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from studio_worker.errors import FetchRefused
from studio_worker.fetch.addresses import plain_host
from studio_worker.fetch.guard import shown


@dataclass(frozen=True, slots=True)
class Way:
    """One address of a file.

    Attributes:
        url: what to ask.
        mirror: the origin of the operator's mirror, which may be private; None where the studio named the host.
    """

    url: str
    mirror: str | None = None


def ways(url: str, mirrors: Mapping[str, Sequence[str]], *, what: str = "the URL") -> tuple[Way, ...]:
    """The addresses of a file, in the order in which they are asked.

    The mirrors of its host take the place of the host: the path is put behind each mirror's address, the query kept.
    A mirror at the host itself stands for the URL as it is, so that an operator can list the host last.

    Args:
        url: as the studio named it.
        mirrors: host to addresses (``https://mirror.example/hf``).
        what: the subject of a refusal's sentence.

    Raises:
        FetchRefused: the path would leave the mirror's folder.
    """
    try:
        parts = urlsplit(url)
        host = plain_host(parts.hostname or "")
    except ValueError:
        return (Way(url),)
    bases = mirrors.get(host, ())
    if parts.scheme not in ("http", "https") or not bases:
        return (Way(url),)
    if ".." in unquote(parts.path).replace("\\", "/").split("/"):
        raise FetchRefused("bad-url", f"{what} holds '..', which no mirror is asked for: {shown(url)}")
    found = []
    for base in bases:
        target = urlsplit(base)
        if plain_host(target.hostname or "") == host:
            found.append(Way(url))
            continue
        query = f"?{parts.query}" if parts.query else ""
        found.append(Way(f"{base.rstrip('/')}{parts.path}{query}", mirror=f"{target.scheme}://{target.netloc}"))
    return tuple(found)
