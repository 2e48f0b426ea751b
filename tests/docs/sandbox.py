"""A reader's machine: a home, a clone of the repository, an environment, and the commands of a page in them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
import venv
from pathlib import Path

from reader_site import install, link_packages

ROOT = Path(__file__).parents[2]
PATIENCE_SECS = 100.0
CLONED = ("pyproject.toml", "README.md", "LICENSE", "Makefile", "studio_worker", "docs/*", "plugins/*")
"""What is linked into the clone, so that a page that makes files there leaves the repository alone."""
DOWNLOADED = ("tiny.gguf", "model-v2.gguf")
EMPTY_GGUF = b"GGUF" + (3).to_bytes(4, "little") + bytes(16)
SERVES = re.compile(r"^(?:\w+=\S+ )*studio-worker (?:-\S+ (?:\w+ )?)*(?:run|studio|demo .*--serve)\b")
READY = ("a worker joins by", "The studio said welcome", "waiting for approval", "still up; dashboard")
STUDIO_COMMAND = re.compile(r"studio-worker studio(?!.*--port)(?= |$)", re.MULTILINE)
STUDIO = re.compile(r"https://studio\.example(?:\.org)?/?")

PIP = '#!/bin/sh\nexec {outer} {reader_pip} {python} "$@"\n'
PYTHON = """\
#!/bin/sh
case "$1 $2" in
"-m venv") exec {outer} {here} "$3" ;;
"-m pip") shift 2; exec {outer} {reader_pip} {python} "$@" ;;
esac
exec {python} "$@"
"""
MODULE = '#!/bin/sh\nexec {python} -m {module} "$@"\n'
# One process for all Python of a page, a block at a time; a traceback shows the lines of the page.
READER = """
import json, sys, traceback
names = {"__name__": "__main__"}
for line in sys.stdin:
    page, at, text = json.loads(line)
    try:
        exec(compile("\\n" * (at - 1) + text, page, "exec"), names)
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        print("\\0failed", flush=True)
    else:
        print("\\0done", flush=True)
"""


def make_environment(folder: Path) -> None:
    """A virtual environment that sees the packages of this one, with the commands that readers use."""
    venv.create(folder, symlinks=True, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    link_packages(site)
    install(ROOT, site)
    bins = folder / "bin"
    python = bins / "python.real"
    python.symlink_to(Path(sys.executable).resolve())
    paths = {
        "python": python,
        "outer": sys.executable,
        "here": Path(__file__),
        "reader_pip": Path(__file__).with_name("reader_pip.py"),
    }
    scripts = {
        "pip": PIP.format(**paths),
        "python": PYTHON.format(**paths),
        "python3": PYTHON.format(**paths),
        "studio-worker": MODULE.format(**paths, module="studio_worker"),
        "pytest": MODULE.format(**paths, module="pytest -p no:cacheprovider"),
    }
    for link in [each for each in bins.glob("python*") if each != python]:
        link.unlink()
    for name, text in scripts.items():
        (bins / name).write_text(text)
        (bins / name).chmod(0o755)


class Service:
    """A command that goes on until it is stopped; what it says is kept."""

    def __init__(self, line: str, process: subprocess.Popen[str]) -> None:
        self.line = line
        self._process = process
        self._said: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def said(self) -> str:
        return "".join(self._said)

    def wait_for(self, *parts: str) -> None:
        """Until it has said one of `parts`."""
        with self._news:
            self._news.wait_for(
                lambda: any(part in self.said for part in parts) or not self._reader.is_alive(), PATIENCE_SECS
            )
        assert any(part in self.said for part in parts), f"{self.line} has not said {parts}, but:\n{self.said[-2_000:]}"

    def stop(self) -> None:
        """As the first Ctrl-C does; it has to end cleanly."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(PATIENCE_SECS)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            self._process.stdout.close()
        assert status == 0, f"{self.line} ended with {status}:\n{self.said[-2_000:]}"

    def _read(self) -> None:
        for line in self._process.stdout:
            with self._news:
                self._said.append(line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()


class Sandbox:
    """Where the blocks of one page are run in order, as a reader would."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self._state = folder / "state.sh"
        self._where = folder / "where"
        clone = self.home / "studio-worker"
        for made in (self.home, clone, self.home / "Downloads"):
            made.mkdir()
        for name in DOWNLOADED:
            (self.home / "Downloads" / name).write_bytes(EMPTY_GGUF + name.encode())
        for pattern in CLONED:
            for path in ROOT.glob(pattern):
                link = clone / path.relative_to(ROOT)
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(path)
        make_environment(folder / "venv")
        self._state.write_text("")
        self._where.write_text(str(clone))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = str(free.getsockname()[1])
        self._environ = {
            "PATH": f"{folder / 'venv' / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "COLUMNS": "160",
            "PIP_NO_INDEX": "1",
            "STUDIO_WORKER_LOCAL_API_PORT": "0",
            "STUDIO_WORKER_REGISTER_POLL_SECS": "0.2",
        }
        self._folder = folder
        self._services: list[Service] = []
        self._studio: Service | None = None
        self._reader: subprocess.Popen[str] | None = None
        self.output = ""

    @property
    def cwd(self) -> Path:
        """The folder that the reader is in."""
        return Path(self._where.read_text().strip())

    def file(self, title: str, text: str) -> None:
        """Save a block as a file; one among the examples of the repository must be there, and be the same."""
        if title.startswith("docs/examples/"):
            assert (ROOT / title).read_text(encoding="utf-8") == text, f"{title} is another file in the repository"
            return
        path = self.home / title[2:] if title.startswith("~/") else self.cwd / title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._here(text), encoding="utf-8")

    def shell(self, text: str, *, status: int = 0) -> None:
        """Run commands; those that serve go on beside the others."""
        self.output = ""
        lines: list[str] = []
        for line in self._here(text).splitlines():
            if SERVES.match(line):
                self._bash("\n".join(lines), 0)
                self._serve(line.partition("  #")[0])
                self.output, lines = "", []
            else:
                lines.append(line)
        self._bash("\n".join(lines), status)

    def python(self, page: str, line: int, text: str) -> None:
        """Run a block of Python after the ones before it, in the same process."""
        if self._reader is None:
            self._reader = subprocess.Popen(
                [str(self._folder / "venv" / "bin" / "python"), "-c", READER],
                cwd=self.cwd,
                env=self._environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        print(json.dumps([page, line, self._here(text)]), file=self._reader.stdin, flush=True)
        self.output = ""
        while (said := self._reader.stdout.readline()) and not said.startswith("\0"):
            self.output += said
        assert said == "\0done\n", self.output

    def expect(self, text: str) -> None:
        """What was run last has said these lines in this order; … stands for anything."""
        wanted = [
            ".*?".join(re.escape(" ".join(part.split())) for part in re.split("…|\\.\\.\\.", line))
            for line in self._here(text).splitlines()
            if line.strip()
        ]
        found = [" ".join(line.split()) for line in (self.output or self._services[-1].said).splitlines()]
        at = 0
        for pattern in wanted:
            hit = next((n for n in range(at, len(found)) if re.fullmatch(f".*?{pattern}", found[n])), None)
            assert hit is not None, f"{pattern!r} is not in\n" + "\n".join(found)
            at = hit + 1

    def approve(self) -> None:
        """What the reader does on the dashboard: admit the worker that asks."""
        admin = json.loads(next(self.cwd.glob("*/admin.json")).read_text())

        def call(path: str, method: str) -> list[dict[str, str]]:
            request = urllib.request.Request(f"{admin['url']}/graphics/api{path}", method=method)
            request.add_header("Authorization", f"Bearer {admin['token']}")
            with urllib.request.urlopen(request, timeout=PATIENCE_SECS) as answer:
                return json.load(answer)

        for pending in call("/workers/pending", "GET"):
            call(f"/workers/pending/{pending['requestId']}/approve", "POST")
        self._services[-1].wait_for("The studio said welcome")

    def stop(self) -> None:
        """The reader presses Ctrl-C wherever something runs."""
        while self._services:
            self._services.pop().stop()

    def close(self) -> None:
        """End everything."""
        if self._reader is not None:
            self._reader.communicate(timeout=PATIENCE_SECS)
        self.stop()
        if self._studio is not None:
            self._studio.stop()

    def _here(self, text: str) -> str:
        """`text` with the ports and the studio of this sandbox."""
        text = re.sub(r"\b8787\b", self._port, text)
        text = STUDIO_COMMAND.sub(rf"\g<0> --port {self._port}", text)
        return STUDIO.sub(self._studio_url(), text) if STUDIO.search(text) else text

    def _studio_url(self) -> str:
        """The studio that a page calls studio.example; one that admits everybody."""
        data = self._folder / "studio.example"
        if self._studio is None:
            self._studio = self._start(f"studio-worker studio --port 0 --data {data} --auto-approve")
        return str(json.loads((data / "admin.json").read_text())["url"])

    def _script(self, text: str) -> list[str]:
        return ["bash", "-euo", "pipefail", "-c", f'. "{self._state}"; cd "$(cat "{self._where}")"\n{text}\n']

    def _bash(self, text: str, status: int) -> None:
        if not text.strip():
            return
        keep = f'export -p > "{self._state}"; pwd > "{self._where}"'
        done = subprocess.run(
            self._script(f"{text}\n{keep}"),
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_SECS,
        )
        self.output += done.stdout
        assert done.returncode == status, f"status {done.returncode} of\n{text}\n{done.stdout[-3_000:]}"

    def _serve(self, line: str) -> None:
        """Start what goes on; a reader has one worker at a time."""
        if "studio-worker studio" not in line:
            for worker in [each for each in self._services if "studio-worker studio" not in each.line]:
                self._services.remove(worker)
                worker.stop()
        self._services.append(self._start(line))

    def _start(self, line: str) -> Service:
        process = subprocess.Popen(
            self._script(f"exec env {line}"),
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        service = Service(line, process)
        service.wait_for(*READY)
        return service


if __name__ == "__main__":
    make_environment(Path(sys.argv[1]))
