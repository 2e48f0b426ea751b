from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.wire.urls import StudioUrls


@pytest.mark.parametrize(
    ("base", "api", "origin"),
    [
        ("https://studio.minis.gg/", "https://studio.minis.gg/graphics/api", "https://studio.minis.gg"),
        ("https://studio.minis.gg", "https://studio.minis.gg/graphics/api", "https://studio.minis.gg"),
        ("https://h/graphics/api", "https://h/graphics/api", "https://h"),
        ("https://h/graphics/api/", "https://h/graphics/api", "https://h"),
        ("http://127.0.0.1:8787/mount", "http://127.0.0.1:8787/mount/graphics/api", "http://127.0.0.1:8787"),
        (
            "http://127.0.0.1:8787/mount/graphics/api",
            "http://127.0.0.1:8787/mount/graphics/api",
            "http://127.0.0.1:8787",
        ),
        ("https://h/a/b//", "https://h/a/b/graphics/api", "https://h"),
        ("https://h/?token=1#frag", "https://h/graphics/api", "https://h"),
        ("HTTPS://Studio.Example:443/", "https://studio.example/graphics/api", "https://studio.example"),
        ("http://h:80/", "http://h/graphics/api", "http://h"),
        ("http://h:443/", "http://h:443/graphics/api", "http://h:443"),
        ("ws://h:8787/", "http://h:8787/graphics/api", "http://h:8787"),
        ("wss://h/", "https://h/graphics/api", "https://h"),
        ("http://[::1]:8787/", "http://[::1]:8787/graphics/api", "http://[::1]:8787"),
        ("https://[2001:DB8::1]", "https://[2001:db8::1]/graphics/api", "https://[2001:db8::1]"),
    ],
)
def test_a_base_url_becomes_the_studios_prefix_and_origin(base, api, origin):
    urls = StudioUrls.parse(base)
    assert (urls.api, urls.origin) == (api, origin)


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        ("", "is empty"),
        ("ftp://x", "must start with https:// or http://"),
        ("javascript:1", "must start with"),
        ("studio.minis.gg", "must start with"),
        ("file:///etc/passwd", "must start with"),
        ("https://user:s3cret@h/", "user name or password"),
        ("https://s3cret@h/", "user name or password"),
        ("http://", "names no host"),
        ("https:///path", "names no host"),
        ("https://h:0/", "names no host"),
        ("https://h:99999/", "is no URL"),
        ("https://h:x/", "is no URL"),
        ("http://[::1", "is no URL"),
        ("https://h/\r\nX: y", "white space"),
        ("https://h /", "white space"),
        ("https://h\\@127.0.0.1/", "backslash"),
        ("https://h/\x00", "control character"),
    ],
)
def test_a_base_url_that_cannot_be_a_studio_is_refused_without_credentials(base, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        StudioUrls.parse(base)
    assert "s3cret" not in str(caught.value)


def test_every_route_of_the_contract():
    urls = StudioUrls.parse("https://h/mount/")
    assert urls.home == "https://h/mount/"
    assert urls.register_request == "https://h/mount/graphics/api/workers/register-request"
    assert urls.poll("rr-1") == "https://h/mount/graphics/api/workers/register-requests/rr-1"
    assert urls.connect("w-1") == "wss://h/mount/graphics/api/workers/w-1/connect"
    assert urls.complete("w-1", "j-9") == "https://h/mount/graphics/api/workers/w-1/jobs/j-9/complete"


def test_plain_http_becomes_a_plain_socket():
    assert StudioUrls.parse("http://h:8787").connect("w").startswith("ws://h:8787/")


@given(st.text(min_size=1))
def test_no_id_leaves_its_place_in_a_route(text):
    urls = StudioUrls.parse("https://h/")
    text = text.encode("utf-8", "replace").decode()
    for url in (urls.poll(text), urls.complete(text, text), urls.connect(text)):
        assert url.isascii()
        assert "?" not in url
        assert "#" not in url
    assert urls.poll(text).count("/") == urls.poll("x").count("/")


@given(st.text())
def test_no_text_brings_anything_but_routes_or_a_reason(text):
    try:
        StudioUrls.parse(text)
    except ValueError:
        pass
