"""Looking for secrets where they have no business: in every disguise, in files, in text and in what processes show."""

from __future__ import annotations

import json
import re
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import quote, quote_plus

import psutil

LOOK_SECS = 0.005


@cache
def disguises(secret: str) -> Mapping[str, bytes]:
    """What the secret looks like wherever it may turn up, by the name of the form."""
    percent = quote(secret, safe="")
    once = json.dumps(secret)[1:-1]
    forms = {
        "plain": secret,
        "percent-encoded": percent,
        "percent-encoded in small letters": re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), percent),
        "percent-encoded as a path": quote(secret),
        "percent-encoded as a form": quote_plus(secret),
        "JSON": once,
        "JSON in JSON": json.dumps(once)[1:-1],
        "JSON with letters as they are": json.dumps(secret, ensure_ascii=False)[1:-1],
        "a Python text": repr(secret)[1:-1],
        "escaped quotes": secret.replace('"', '\\"'),
        "hex": secret.encode().hex(),
    }
    for before in range(3):
        # What stands before it and behind it in the same text changes the letters at both ends.
        whole = b64encode(b"\0" * before + secret.encode() + b"\0" * 2).decode()
        middle = whole[-(-before * 8 // 6) : (before + len(secret.encode())) * 8 // 6]
        forms[f"base64 behind {before} bytes"] = middle
        forms[f"base64 of URLs behind {before} bytes"] = middle.replace("+", "-").replace("/", "_")
    return {name: form.encode() for name, form in forms.items()}


@dataclass
class Search:
    """Secrets by name, and where they were found. Some may lie in one place, which is named with the reason."""

    secrets: dict[str, str] = field(default_factory=dict)
    found: set[str] = field(default_factory=set)

    def text(self, place: str, text: str | bytes, *, but: frozenset[str] = frozenset()) -> None:
        """Look through a text; the secrets `but` may be in it."""
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        for name, secret in self.secrets.items():
            if name not in but:
                self.found |= {f"{name} in {place}, {form}" for form in _forms_in(data, secret)}

    def folder(self, folder: Path, homes: Mapping[str, frozenset[str]]) -> set[str]:
        """Look through the names and the bytes of all files below a folder.

        `homes` are the files whose job it is to hold a secret, by their path in it, with the names of those secrets.
        Returns those secrets that were at home.
        """
        at_home = set()
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder))
            self.text("a file's name", name)
            try:
                data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            except OSError:
                continue
            own = homes.get(name, frozenset())
            self.text(name, data, but=own)
            kept = {each for each in own if each in self.secrets and _forms_in(data, self.secrets[each])}
            if kept and path.stat().st_mode & 0o077:
                self.found.add(f"{name} holds {', '.join(sorted(kept))} and is open to others")
            at_home |= kept
        return at_home


def _forms_in(data: bytes, secret: str) -> Iterator[str]:
    return (name for name, form in disguises(secret).items() if form in data)


class ProcessWatch:
    """Reads the command line, the environment and the title of whatever this process and its children start."""

    def __init__(self) -> None:
        self.seen: dict[tuple[int, bytes], tuple[bytes, str]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ProcessWatch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        own = psutil.Process()
        while not self._stop.wait(LOOK_SECS):
            self._look(own.children(recursive=True))

    def _look(self, processes: list[psutil.Process]) -> None:
        for process in processes:
            folder = Path(f"/proc/{process.pid}")
            try:
                # In this order: a child that is about to become another program still shows its parent's of both.
                command = (folder / "cmdline").read_bytes()
                environ, title = (folder / "environ").read_bytes(), (folder / "comm").read_text()
                parent = (folder.parent / str(process.ppid()) / "cmdline").read_bytes()
            except (OSError, psutil.Error):
                continue
            if command and command != parent:
                self.seen[process.pid, command] = (environ, title)
