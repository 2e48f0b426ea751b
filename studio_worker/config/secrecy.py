"""Which settings are nobody else's business: told by the names of their keys, and by what stands in addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from studio_worker.masks import MASK

MAX_DEPTH = 64
"""Tables inside tables that are looked into; settings cannot be nested deeper."""

MIN_PLUGIN_SECRET = 8
"""A shorter text of a plugin's table is not looked for in what is said: it would be found everywhere."""

MAX_SECRETS = 64
"""Texts of plugins' tables that are looked for."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+")
_ALWAYS = re.compile(
    r"secrets?|.*passw(?:or)?ds?|.*pwd|passphrases?|passcodes?|credentials?|creds|cookies?|bearer|authori[sz]ation"
)
"""Words that make a key secret wherever they stand in it."""

_AT_THE_END = re.compile(
    r".*tokens?|.*secrets?|.*(?:api|access|private|secret|signing|auth|ssh)keys?|keys?|o?auth|pass|jwt|signature|sig"
)
"""Words that make a key secret as its last one: ``api_key`` is, ``key_size`` is not."""

_HARMLESS_BEFORE = re.compile(
    r"max|min|num|n|count|total|budget|new|stop|eos|bos|pad|unk|sep|cls|special|image|prompt|input|output|sort|order|group"
    r"|cache|public|primary|foreign|partition|column|field|dict|map|index|hot|low|high|band"
)
"""Words before such an end that say it is another kind of token, key or pass: ``max_tokens``, ``public_key``."""

_HARMLESS_AT_THE_END = re.compile(
    r"file|path|dir|folder|names?|type|env|variable|policy|mode|length|size|count|limit|ttl|secs|seconds|timeout"
)
"""Last words of a key that says where a secret is, or of what kind, and holds none."""

_USERINFO = re.compile(r"(://)[^/?#\s\"']*@")
_QUERY = re.compile(r"([?&#])([\w.\[\]%~-]+)=([^&#\s\"']+)")
_PASSWORD = re.compile(r"://(?:[^/?#\s\"':]*:)?([^/?#\s\"']+)@")
_SCHEMES = ("bearer", "basic", "token")


def is_secret(key: str) -> bool:
    """Whether a key's name says that its text is nobody else's business, however its words are joined."""
    words = [word.lower() for word in _WORDS.findall(key[:256])]
    if not words or _HARMLESS_AT_THE_END.fullmatch(words[-1]):
        return False
    if any(map(_ALWAYS.fullmatch, words)):
        return True
    return _AT_THE_END.fullmatch(words[-1]) is not None and not any(map(_HARMLESS_BEFORE.fullmatch, words[:-1]))


def holds_secrets(table: Mapping[str, Any]) -> bool:
    """Whether a config file's table has a text, at any depth, under such a key."""
    plugins = table.get("plugins")
    tables = [{**table, "plugins": None}, *(plugins.values() if isinstance(plugins, Mapping) else ())]
    return any(True for each in tables for _ in _texts(each, is_hidden=False, depth=0))


def masked(path: tuple[str, ...], value: Any) -> Any:
    """A setting's value with everything in it hidden that is secret: texts under such keys, what addresses carry.

    Args:
        path: the setting's name, and the keys inside its table. What a plugin is called says nothing.
        value: the setting's.

    Returns:
        What JSON can carry.
    """
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {name: masked((*path, name), inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(path, item) for item in value]
    if not isinstance(value, str):
        return value
    if value and any(map(is_secret, path[2:] if path[0] == "plugins" else path[:1])):
        return MASK
    return _QUERY.sub(rf"\1\2={MASK}", _USERINFO.sub(rf"\1{MASK}@", value))


def plugin_secrets(plugins: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """The secret texts of plugins' tables that are long enough to be told from other text; `MAX_SECRETS` at most."""
    found = (text for table in plugins.values() for text in _texts(table, is_hidden=False, depth=0))
    return tuple(islice(dict.fromkeys(text for whole in found for text in _forms(whole)), MAX_SECRETS))


def _texts(value: Any, *, is_hidden: bool, depth: int) -> Iterator[str]:
    """The secret texts in a value; all of them where it stands under a secret key."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, is_hidden=is_hidden or is_secret(key), depth=depth + 1)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner, is_hidden=is_hidden, depth=depth + 1)
    elif isinstance(value, str) and value:
        if is_hidden:
            yield value
        else:
            yield from _PASSWORD.findall(value)
            yield from (text for _, name, text in _QUERY.findall(value) if is_secret(name))


def _forms(text: str) -> Iterator[str]:
    """A text, and what of it is the secret where it begins with the name of a scheme (``Bearer ...``)."""
    scheme, _, rest = text.strip().partition(" ")
    for form in (text, rest.strip() if scheme.lower() in _SCHEMES else ""):
        if len(form) >= MIN_PLUGIN_SECRET:
            yield form
