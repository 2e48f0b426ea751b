"""Which internet addresses strangers may name: parsing in every disguise, and one verdict an address.

`ipaddress.is_global` calls several dangerous addresses global (cloud metadata at 192.0.0.192 and 168.63.129.16,
multicast, 64:ff9b::/96, 2002::/16, fec0::/10), so the rule here is our own and says what is allowed, not what is
forbidden: IPv4 unicast outside the special-purpose registry (RFC 6890), IPv6 inside 2000::/3 less its special
blocks. An IPv4 address inside an IPv6 one is judged by itself.
"""

from __future__ import annotations

import re
import unicodedata
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address


class Verdict(Enum):
    """What an address is."""

    GLOBAL = "global"
    """A public unicast address."""

    PRIVATE = "private"
    """This machine or a private network: allowed only where the operator says so."""

    METADATA = "metadata"
    """A cloud's metadata service, which hands credentials to whoever asks: never allowed."""

    SPECIAL = "special"
    """Link-local, multicast, reserved, tunnelled, documentation: never allowed."""


METADATA_ADDRESSES: frozenset[Address] = frozenset(
    ip_address(text)
    for text in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254")
)
"""AWS, GCP and Azure; AWS ECS; Alibaba; Oracle; Azure's wire server; AWS over IPv6."""

METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"}
)

_PRIVATE_V4 = tuple(
    IPv4Network(text) for text in ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)
_SPECIAL_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "169.254.0.0/16",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
_PRIVATE_V6 = (IPv6Network("::1/128"), IPv6Network("fc00::/7"))

_TRANSLATED = tuple(IPv6Network(text) for text in ("64:ff9b::/96", "::ffff:0:0:0/96", "::/96"))
"""NAT64 (RFC 6052), IPv4-translated (RFC 2765), IPv4-compatible (RFC 4291): the last 32 bits are an IPv4 address."""

_DOTS = str.maketrans({"\u3002": ".", "\uff0e": ".", "\uff61": "."})
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")


def verdict(address: Address) -> Verdict:
    """What `address` is, after looking inside it.

    Mapped and NAT64 addresses are what the IPv4 address inside is; every other wrapping (compatible, translated,
    6to4, Teredo) is at best special, and metadata or private where an address inside is.
    """
    if address in METADATA_ADDRESSES:
        return Verdict.METADATA
    if isinstance(address, IPv4Address):
        return _verdict_v4(address)
    inside = [verdict(inner) for inner in embedded(address)]
    if Verdict.METADATA in inside:
        return Verdict.METADATA
    if inside and (address.ipv4_mapped is not None or address in _TRANSLATED[0]):
        return inside[0]
    if any(address in network for network in _PRIVATE_V6):
        return Verdict.PRIVATE
    if address not in _GLOBAL_V6 or any(address in network for network in _SPECIAL_V6):
        return Verdict.SPECIAL
    return Verdict.GLOBAL


def _verdict_v4(address: IPv4Address) -> Verdict:
    if any(address in network for network in _PRIVATE_V4):
        return Verdict.PRIVATE
    if any(address in network for network in _SPECIAL_V4):
        return Verdict.SPECIAL
    return Verdict.GLOBAL


def embedded(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that an IPv6 address carries; ``::`` and ``::1`` carry none."""
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    if int(address) > 1 and any(address in network for network in _TRANSLATED):
        return (IPv4Address(int(address) & 0xFFFF_FFFF),)
    return ()


def plain_host(host: str) -> str:
    """`host` as one canonical text: compatibility forms folded, lower case, no brackets, no closing dot.

    Full-width and circled digits and the ideographic full stops become what a resolver would make of them.
    """
    folded = unicodedata.normalize("NFKC", host.translate(_DOTS)).translate(_DOTS).lower()
    return folded.removeprefix("[").removesuffix("]").removesuffix(".")


def parse_literal(host: str) -> Address | None:
    """The address that a URL's host spells, in any form that some resolver reads; None for a name.

    Args:
        host: as it stands in the URL, with or without brackets and zone.

    Raises:
        ValueError: it is meant as an address (it has a colon, or ends in a number) and is none.
    """
    text = plain_host(host)
    if ":" in text:
        return IPv6Address(text.split("%", 1)[0])
    labels = text.split(".")
    if not _NUMBER.fullmatch(labels[-1]):
        return None
    return _loose_ipv4(labels)


def _loose_ipv4(labels: list[str]) -> IPv4Address:
    """The classic reading of inet_aton: one to four parts, each decimal, octal or hex; the last fills the rest."""
    if len(labels) > 4 or not all(_NUMBER.fullmatch(label) for label in labels):
        raise ValueError("ends in a number but is no IPv4 address")
    numbers = [_loose_number(label) for label in labels]
    *heads, last = numbers
    if any(head > 255 for head in heads) or last >= 256 ** (5 - len(numbers)):
        raise ValueError("is no IPv4 address: a part is too large")
    value = last
    for index, head in enumerate(heads):
        value += head << (8 * (3 - index))
    return IPv4Address(value)


def _loose_number(label: str) -> int:
    if len(label) > 40:
        raise ValueError("is no IPv4 address: a part is too long")
    if label[:2] in ("0x", "0X"):
        return int(label[2:] or "0", 16)
    if label.startswith("0") and label != "0":
        return int(label, 8)
    return int(label)
