from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trustme

from .file_server import DATA, FileServer, move, up_to
from .names import Names


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed_with_the_range_that_is_missing(
    server: FileServer, pull: Any, status: int
) -> None:
    server.paths["/from"] = move("/to?sig=new", status)
    server.script = [up_to(900_000)]
    await pull(f"{server.origin}/from")
    assert [asked.path for asked in server.asked] == ["/from", "/to?sig=new"] * 2
    assert server.asked[3].start > 0
    assert pull.dest.read_bytes() == DATA


@pytest.mark.parametrize(
    ("to", "rule"),
    [
        ("http://127.0.0.1:{port}/", "private-address"),
        ("https://localhost:{port}/", "private-address"),
        ("https://0x7f.1:{port}/", "private-address"),
        ("https://2130706433:{port}/", "private-address"),
        ("https://0177.0.0.1:{port}/", "private-address"),
        ("https://127.1:{port}/", "private-address"),
        ("https://[::ffff:127.0.0.1]:{port}/", "private-address"),
        ("https://[::1]:{port}/", "private-address"),
        ("https://127。0。0。1:{port}/", "private-address"),
        ("https://１２７.0.0.1:{port}/", "private-address"),
        ("https://[64:ff9b::7f00:1]:{port}/", "private-address"),
        ("https://[2002:7f00:1::]:{port}/", "special-address"),
        ("https://0.0.0.0:{port}/", "special-address"),
        ("//169.254.169.254/latest/", "metadata"),
        ("https://metadata.google.internal/", "metadata"),
        ("file:///etc/passwd", "scheme"),
        ("data:text/plain,x", "scheme"),
        ("http://models.example/", "plain-http"),
        ("https://u:p@models.example/", "credentials"),
        ("https://models.example:22/", "port"),
        ("http://[::1", "bad-url"),
        ("/graphics/api/workers", "studio-route"),
    ],
)
async def test_each_hop_is_judged_as_a_new_address_and_never_connected(
    server: FileServer, pull: Any, tripwire: int, to: str, rule: str
) -> None:
    server.paths["/from"] = move(to.format(port=tripwire).encode().decode("latin-1"))
    assert (await pull.refused(f"{server.origin}/from")).rule == rule
    assert len(server.asked) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]", "localhost", "localhost."])
async def test_a_claim_that_names_this_machine_is_never_connected(pull: Any, tripwire: int, host: str) -> None:
    assert (await pull.refused(f"https://{host}:{tripwire}/a.bin")).rule == "private-address"


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("93.184.216.34", "127.0.0.1"), ("10.0.0.1",)])
async def test_a_name_that_leads_to_a_private_address_is_never_connected(
    pull: Any, tripwire: int, addresses: tuple[str, ...]
) -> None:
    pull.options = {"resolver": Names(*addresses)}
    assert (await pull.refused(f"https://models.example:{tripwire}/a.bin")).rule == "private-address"


async def test_a_name_that_a_redirect_leads_to_is_judged_by_its_addresses_too(
    server: FileServer, pull: Any, tripwire: int
) -> None:
    pull.options = {"resolver": Names("127.0.0.1")}
    server.paths["/from"] = move(f"https://models.example:{tripwire}/a.bin")
    assert (await pull.refused(f"{server.origin}/from")).rule == "private-address"


async def test_a_link_with_a_name_and_a_password_is_refused_without_showing_them(pull: Any) -> None:
    error = await pull.refused("https://bob:hunter2@models.example/a.bin")
    assert error.rule == "credentials"
    assert "hunter2" not in str(error)


async def test_a_chain_of_five_is_followed_and_the_sixth_is_refused(server: FileServer, pull: Any) -> None:
    for step in range(6):
        server.paths[f"/{step}"] = move(f"/{step + 1}")
    await pull(f"{server.origin}/1")
    pull.dest.unlink()
    assert (await pull.refused(f"{server.origin}/0")).rule == "too-many-redirects"


async def test_a_loop_ends(server: FileServer, pull: Any) -> None:
    server.paths["/loop"] = move("/loop")
    assert (await pull.refused(f"{server.origin}/loop")).rule == "too-many-redirects"
    assert len(server.asked) == 6


async def test_a_redirect_that_leads_nowhere_is_final(server: FileServer, pull: Any) -> None:
    server.paths["/from"] = move("")
    error = await pull.failed(f"{server.origin}/from")
    assert not error.retryable
    assert "without saying where to" in str(error)


@pytest.fixture
async def tls_server(authority: trustme.CA) -> AsyncIterator[FileServer]:
    """The studio's own origin over https, at the name localhost."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(tls)
    made = FileServer(host="localhost")
    await made.start(tls)
    yield made
    await made.stop()


@pytest.fixture
def pull_tls(pull: Any, tls_server: FileServer, trust: ssl.SSLContext) -> Any:
    pull.server = tls_server
    pull.options = {"tls": trust}
    return pull


async def test_a_file_comes_over_https(tls_server: FileServer, pull_tls: Any) -> None:
    await pull_tls()
    assert pull_tls.dest.read_bytes() == DATA


async def test_no_redirect_leads_from_https_to_plain_http(tls_server: FileServer, pull_tls: Any) -> None:
    tls_server.paths["/from"] = move(f"http://localhost:{tls_server.port}/a.bin")
    assert (await pull_tls.refused(f"{tls_server.origin}/from")).rule == "redirect-to-plain-http"


async def test_a_certificate_that_nobody_vouches_for_is_named(tls_server: FileServer, pull_tls: Any) -> None:
    pull_tls.options = {}
    assert "certificate is not trusted" in str(await pull_tls.failed())
    assert tls_server.asked == []
