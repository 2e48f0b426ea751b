from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from studio_worker.errors import FetchRefused
from studio_worker.fetch.addresses import Verdict, parse_literal, verdict
from studio_worker.fetch.guard import Guard, shown

STUDIO = "https://studio.example"
GUARD = Guard(STUDIO)
LENIENT = Guard(STUDIO, allow_private=True)


def rule(url: str, guard: Guard = GUARD) -> str:
    with pytest.raises(FetchRefused) as refused:
        guard.check(url)
    return refused.value.rule


@pytest.mark.parametrize(
    "url",
    [
        "https://files.example/a.wav",
        "https://files.example:8443/a.wav?X-Amz-Signature=ab%2Bc%3D&x=1",
        "https://8.8.8.8/a",
        "https://[2606:4700::1111]/a",
        "HTTPS://Files.Example/a",
        "https://studio.example/results/abc",
    ],
)
def test_a_public_https_url_is_let_through(url: str) -> None:
    assert GUARD.check(url).scheme == "https"


def test_a_signed_link_keeps_its_bytes() -> None:
    signed = "https://files.example/a%2Fb+c?sig=ab%2Bc%3D%3d&empty=&x=%7Ey"
    assert str(GUARD.check(signed)) == signed


def test_a_url_in_another_script_is_escaped_and_its_fragment_dropped() -> None:
    assert str(GUARD.check("https://bücher.example/für?q=ü#top")) == ("https://xn--bcher-kva.example/f%C3%BCr?q=%C3%BC")


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "localhost.", "a.localhost", "[::1]", "2130706433", "0x7f000001"),
        *("0177.0.0.1", "127.1", "\uff11\uff12\uff17.0.0.1", "\u2460\u2461\u2466.0.0.1", "127\u30020\u30020\u30021"),
        *("[::ffff:127.0.0.1]", "\uff4cocalhost"),
        *("10.1.2.3", "172.16.0.1", "192.168.0.1", "100.64.0.1", "[fc00::1]"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_private_hosts_are_refused_in_every_disguise(scheme: str, host: str) -> None:
    assert rule(f"{scheme}://{host}/") == "private-address"


@pytest.mark.parametrize(
    "host",
    [
        *("0.0.0.0", "[::127.0.0.1]", "[2002:7f00:1::]", "[::ffff:0:127.0.0.1]", "[fec0::1]", "[fe80::1%25eth0]"),
        *("198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "[ff02::1]", "169.254.1.1"),
    ],
)
def test_special_addresses_are_refused_even_where_private_hosts_are_allowed(host: str) -> None:
    assert rule(f"https://{host}/") == "special-address"
    assert rule(f"http://{host}/", LENIENT) == "special-address"


@pytest.mark.parametrize(
    "host",
    [
        *("169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "[fd00:ec2::254]"),
        *("[64:ff9b::a9fe:a9fe]", "metadata.google.internal", "METADATA.google.internal.", "metadata", "2852039166"),
    ],
)
def test_metadata_services_are_refused_even_where_private_hosts_are_allowed(host: str) -> None:
    assert rule(f"http://{host}/latest/") == "metadata"
    assert rule(f"http://{host}/latest/", LENIENT) == "metadata"


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc/passwd", "ftp://files.example/a", "gopher://files.example/", "unix:/run/x.sock", "javascript:1"),
        *("//files.example/a", "files.example/a", "/etc/passwd", "ws://files.example/", "data:text/plain,x"),
    ],
)
def test_other_schemes_are_refused(url: str) -> None:
    assert rule(url) == "scheme"


@pytest.mark.parametrize("url", ["https://u:p@files.example/", "https://h@127.0.0.1/", "https://@files.example/"])
def test_credentials_are_refused(url: str) -> None:
    assert rule(url) == "credentials"


@pytest.mark.parametrize(
    "url",
    [
        *("", " ", "https://", "https:///a", "http://[::1", "http://h\\@127.0.0.1/", "\\\\host\\share"),
        *("https://files.example/a\r\nHost: x", "https://files.example/\t", "https://files.example/\0"),
        *("https://files.example/a b", "https://files.example/" + "a" * 1_000_000, "https://fi\u200bles.example/"),
        *("https://1.2.3.4.5/", "https://256.1.1.1/", "https://a..b/", "https://%31%32%37.0.0.1/", "https://-a-/"),
        *("https://files.example/\ud800", "https://a[b]/", "https://[::1]x/", "https://exa mple/", "https://a\u202eb/"),
    ],
)
def test_broken_urls_are_refused(url: str) -> None:
    assert rule(url) == "bad-url"


@pytest.mark.parametrize("host", [".".join(["bücher"] * 37), "".join(map(chr, range(0x4E00, 0x4E00 + 8_000)))])
def test_a_host_longer_than_any_name_is_refused_before_it_is_put_into_ascii(host: str) -> None:
    with pytest.raises(FetchRefused, match="no usable host") as refused:
        GUARD.check(f"https://{host}/")
    assert refused.value.rule == "bad-url"


@pytest.mark.parametrize("port", ["0", "22", "25", "99999", "6379", "5432", "x", "-1", "8²"])
def test_ports_of_other_services_are_refused(port: str) -> None:
    assert rule(f"https://files.example:{port}/") == "port"


@pytest.mark.parametrize("host", ["files.example", "8.8.8.8", "[2606:4700::1111]"])
def test_plain_http_to_the_public_is_refused(host: str) -> None:
    assert rule(f"http://{host}/a") == "plain-http"


@pytest.mark.parametrize("url", ["http://192.168.0.9/a", "https://localhost:8443/a", "http://nas/a", "http://[::1]/"])
def test_private_hosts_are_let_through_where_the_operator_allows_them(url: str) -> None:
    assert LENIENT.check(url).host


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111"])
def test_a_name_that_is_allowed_over_http_only_as_private_is_refused_at_a_public_address(address: str) -> None:
    url = LENIENT.check("http://nas/a")
    with pytest.raises(FetchRefused) as refused:
        LENIENT.check_address(url, address, 80)
    assert refused.value.rule == "plain-http"


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:8787", "http://localhost:81", "https://10.0.0.5", "http://[::1]:8787", "http://studio"]
)
def test_the_own_origin_is_always_allowed(origin: str) -> None:
    guard = Guard(origin)
    url = guard.check(f"{origin}/results/a?sig=1")
    guard.check_address(url, "127.0.0.1", url.port or 0)


@pytest.mark.parametrize("other", ["http://127.0.0.1:8788/", "https://127.0.0.1:8787/", "http://127.0.0.2:8787/"])
def test_the_own_origin_is_scheme_host_and_port_together(other: str) -> None:
    assert rule(other, Guard("http://127.0.0.1:8787")) == "private-address"


@pytest.mark.parametrize(
    "path",
    [
        *("/graphics/api/workers", "/graphics/api/workers/pending/1", "/graphics/api/jobs", "/graphics/api/jobs/j1"),
        *(
            "/graphics/api/jobs/j1/cancel",
            "/mount/graphics/api/logs",
            "/graphics/api/%77orkers",
            "//graphics//api/models",
        ),
        *("/graphics/api/jobs/j1/../../workers", "/graphics/api/events", "/x/..%2fgraphics/api/events"),
    ],
)
def test_the_routes_of_the_studios_own_api_are_refused(path: str) -> None:
    assert rule(STUDIO + path) == "studio-route"


@pytest.mark.parametrize("path", ["/graphics/api/jobs/j1/result", "/graphics/api/results/j1", "/blobs/graphics/api"])
def test_result_links_of_the_own_studio_are_let_through(path: str) -> None:
    assert GUARD.check(f"{STUDIO}{path}?sig=1").path == path


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0"])
def test_the_workers_own_listener_is_refused_under_every_name(host: str) -> None:
    guard = Guard("http://127.0.0.1:8787", allow_private=True, closed=frozenset({("127.0.0.1", 4787)}))
    assert rule(f"http://{host}:4787/daemon/status", guard) == "own-listener"


def test_a_name_that_leads_to_the_own_listener_is_refused_at_connect() -> None:
    guard = Guard(None, allow_private=True, closed=frozenset({("127.0.0.1", 4787)}))
    url = guard.check("http://nas:4787/")
    with pytest.raises(FetchRefused) as refused:
        guard.check_address(url, "::ffff:127.0.0.1", 4787)
    assert refused.value.rule == "own-listener"


@pytest.mark.parametrize(
    ("address", "rule"),
    [
        ("127.0.0.1", "private-address"),
        ("192.168.0.1", "private-address"),
        ("169.254.169.254", "metadata"),
        ("fe80::1%eth0", "special-address"),
        ("0.0.0.0", "special-address"),
    ],
)
def test_the_address_that_a_name_leads_to_is_judged_at_connect(address: str, rule: str) -> None:
    url = GUARD.check("https://files.example/a")
    with pytest.raises(FetchRefused) as refused:
        GUARD.check_address(url, address, 443)
    assert refused.value.rule == rule


def test_a_refusal_names_what_the_url_is_for_and_its_rule() -> None:
    with pytest.raises(FetchRefused, match=r"^task\.inputUrl must be https: .* \(rule: plain-http\)$"):
        GUARD.check("http://files.example/a", what="task.inputUrl")


def test_no_sentence_shows_credentials_or_signatures() -> None:
    assert shown("https://user:secret@files.example/a?sig=secret#secret") == "https://files.example/a"
    assert shown(URL("https://files.example/a?sig=secret")) == "https://files.example/a"


HOSTS = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=4).map(lambda address: str(int(address))),
    st.ip_addresses(v=4).map(lambda address: hex(int(address))),
    st.ip_addresses().map(lambda address: f"[{address}]" if address.version == 6 else str(address)),
    st.text(max_size=20),
    st.sampled_from(["localhost", "files.example", "127\u30020\u30020\u30021", "[::ffff:7f00:1]", "0x7f.1"]),
)


@given(
    scheme=st.sampled_from(["http", "https", "HTTPS", "ftp", "", "file"]),
    user=st.sampled_from(["", "u@", "u:p@"]),
    host=HOSTS,
    port=st.one_of(st.just(""), st.integers(-5, 70_000).map(lambda port: f":{port}")),
    path=st.text(max_size=20),
)
@example("https", "", "[::ffff:169.254.169.254]", "", "/latest")
def test_whatever_passes_is_https_without_credentials_and_not_to_a_closed_address(
    scheme: str, user: str, host: str, port: str, path: str
) -> None:
    try:
        url = GUARD.check(f"{scheme}://{user}{host}{port}/{path}")
    except FetchRefused:
        return
    assert url.scheme == "https"
    assert url.user is None
    assert str(url).isascii()
    assert not any(char in str(url) for char in "\r\n\t \\")
    literal = parse_literal(url.raw_host or "")
    assert literal is None or verdict(literal) is Verdict.GLOBAL


@given(st.text(max_size=60))
def test_any_text_is_judged_without_another_error(text: str) -> None:
    try:
        url = GUARD.check(text)
    except FetchRefused:
        return
    assert url.scheme == "https"
