from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.fetch.addresses import Verdict, embedded, parse_literal, plain_host, verdict


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001::200e"])
def test_public_unicast_addresses_are_global(address: str) -> None:
    assert verdict(ip_address(address)) is Verdict.GLOBAL


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.255.254", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255"),
        *("192.168.1.1", "100.64.0.1", "100.127.255.255", "::1", "fc00::1", "fd12:3456::1"),
        *("::ffff:127.0.0.1", "::ffff:192.168.0.1", "64:ff9b::7f00:1"),
    ],
)
def test_this_machine_and_private_networks_are_private(address: str) -> None:
    assert verdict(ip_address(address)) is Verdict.PRIVATE


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254"),
        *("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "::ffff:0:169.254.169.254"),
        "::169.254.169.254",
    ],
)
def test_metadata_services_are_known_in_every_wrapping(address: str) -> None:
    assert verdict(ip_address(address)) is Verdict.METADATA


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "169.254.1.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
        *("192.88.99.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
        *("::", "::127.0.0.1", "::ffff:0:127.0.0.1", "2002:7f00:1::", "2002:808:808::1", "fec0::1", "fe80::1"),
        *("ff02::1", "2001:db8::1", "2001::1", "2001:10::1", "3fff::1", "5f00::1", "64:ff9b:1::1", "100::1"),
    ],
)
def test_reserved_tunnelled_and_local_addresses_are_never_global(address: str) -> None:
    assert verdict(ip_address(address)) is Verdict.SPECIAL


def test_teredo_carries_its_server_and_its_client() -> None:
    inside = embedded(IPv6Address("2001:0:4136:e378:8000:63bf:3fff:fdd2"))
    assert inside == (IPv4Address("65.54.227.120"), IPv4Address("192.0.2.45"))


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("127.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0X7F.1", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("0x", "0.0.0.0"),
        ("\uff11\uff12\uff17.0.0.1", "127.0.0.1"),
        ("\u2460\u2461\u2466.\u24ea.\u24ea.\u2460", "127.0.0.1"),
        ("127\u30020\u30020\u30021", "127.0.0.1"),
        ("127\uff0e0\uff0e0\uff0e1", "127.0.0.1"),
        ("127\uff610\uff610\uff611", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[::ffff:127.0.0.1]", "::ffff:7f00:1"),
        ("[fe80::1%25eth0]", "fe80::1"),
    ],
)
def test_an_address_is_read_in_every_disguise(host: str, address: str) -> None:
    assert parse_literal(host) == ip_address(address)


@pytest.mark.parametrize("host", ["example.com", "localhost", "1e100.net", "a.b.c", "0xyz.example", "12.example", ""])
def test_a_name_is_no_address(host: str) -> None:
    assert parse_literal(host) is None


@pytest.mark.parametrize(
    "host", ["1.2.3.4.5", "256.256.256.256", "08.0.0.1", "1..2", "a.1", "4294967296", "1.16777216", "[::g]", "9" * 5000]
)
def test_what_looks_like_an_address_and_is_none_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_literal(host)


def test_a_host_is_folded_before_it_is_compared() -> None:
    assert plain_host("LOCALHOST.") == "localhost"
    assert plain_host("\uff4cocalhost") == "localhost"


@given(st.ip_addresses(v=4))
def test_every_spelling_of_an_ipv4_address_is_the_same_address(address: IPv4Address) -> None:
    a, b, c, d = address.packed
    spellings = [
        str(int(address)),
        hex(int(address)),
        f"0{int(address):o}",
        f"{a}.{b}.{c * 256 + d}",
        f"0x{a:x}.0{b:o}.{c}.{d}.",
    ]
    assert {parse_literal(text) for text in spellings} == {address}


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_becomes_global_by_being_wrapped(address: IPv4Address) -> None:
    plain = verdict(address)
    number = int(address)
    wrapped = [
        IPv6Address(number | 0xFFFF << 32),
        IPv6Address(number),
        IPv6Address(int(IPv6Address("64:ff9b::")) | number),
        IPv6Address(int(IPv6Address("2002::")) | number << 80),
        IPv6Address(int(IPv6Address("::ffff:0:0:0")) | number),
    ]
    for address6 in wrapped:
        found = verdict(address6)
        assert found is not Verdict.GLOBAL or plain is Verdict.GLOBAL
        assert plain is not Verdict.METADATA or found is Verdict.METADATA


@given(st.ip_addresses(v=6))
def test_a_global_ipv6_address_is_one_that_the_standard_library_calls_global_too(address: IPv6Address) -> None:
    if verdict(address) is Verdict.GLOBAL:
        assert address.is_global
        assert not address.is_multicast
