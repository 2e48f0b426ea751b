"""`studio-worker generate` with engines that need no model: one job, a result, and nothing left behind."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studio_worker.cli.generate_run import PREFIX
from studio_worker.models.ledger import Ledger
from studio_worker.state import StateLock
from studio_worker.testing.claims import silence
from studio_worker.wire.results import sniff_ext

from .terminals import read_all

SLOW = """
import sys
import time
from pathlib import Path

from studio_worker import (
    Engine, EngineCapabilities, ImageResult, LlmResult, TaskKind, TextDelta, hookimpl,
)


def answer(text):
    return LlmResult({
        "object": "chat.completion", "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    })


def wait(job):
    for step in range(10_000):
        job.progress(step, 10_000, stage="waiting")
        job.check_cancelled()
        time.sleep(0.01)


class Slow(Engine):
    name = "slow"

    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: ["slow-llm"], TaskKind.IMAGE: ["slow-image"]})

    def run(self, job):
        if job.task.kind == TaskKind.LLM:
            if job.task.messages[-1].content == "wait":
                wait(job)
            return answer("whole")
        if job.task.prompt.startswith("deaf "):
            job.progress(0, 1, stage="deaf")
            while not job.cancelled:
                time.sleep(0.01)
            Path(job.task.prompt[5:]).write_text("asked to end")
            while True:
                time.sleep(1)
        job.meta["inputs"] = sorted(job.inputs)
        return ImageResult(job.inputs["image"].read_bytes(), "png")

    def stream(self, job):
        said = job.task.messages[-1].content
        if said == "wait":
            wait(job)
        if said == "die":
            import os
            os._exit(3)
        for piece in ("one ", "\\x1b[2Jtwo\\n", "three"):
            yield TextDelta(piece)
        yield answer("one \\x1b[2Jtwo\\nthree")


@hookimpl
def studio_worker_engines(config):
    return [Slow()]
"""


@pytest.fixture
def folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a user whose only engine is the synthetic one; temporary files lie in `tmp`."""
    monkeypatch.setenv("STUDIO_WORKER_DISABLED_ENGINES", "piper,whisper,llama,sdcpp,onnx")
    (home / "here").mkdir()
    (home / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(home / "tmp"))
    monkeypatch.chdir(home / "here")
    return home / "here"


@pytest.fixture
def generate(cli: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    return lambda *args: cli("generate", *map(str, args))


@pytest.fixture
def slow(installed: Callable[..., dict[str, str]], folder: Path) -> dict[str, str]:
    """The environment in which the engine above is installed."""
    points = "[studio_worker]\nslow = studio_worker_slow\n"
    return installed("studio-worker-slow", source=SLOW, entry_points=points)


@pytest.mark.parametrize(
    ("kind", "more", "name", "ext"),
    [
        ("image", ["--prompt", "a cup", "--width", 32, "--height", 24, "--set", "ext=png"], "image", "png"),
        ("tts", ["--text", "Good morning."], "speech", "wav"),
        ("audio_tts", ["--prompt", "Good morning."], "speech", "wav"),
        ("video", ["--prompt", "waves", "--set", "seconds=0.25", "--set", "ext=gif", "--width", 32], "video", "gif"),
    ],
)
def test_a_picture_a_sound_and_a_film_become_files_named_by_kind_and_seed(
    generate: Any, folder: Path, kind: str, more: list[object], name: str, ext: str
) -> None:
    done = generate(kind, "--source-id", "synthetic", *more, "--json")
    assert done.status == 0, done.err
    told = json.loads(done.out)
    (file,) = folder.iterdir()
    assert told["path"] == file.name == f"{name}-{told['seed']}.{told['ext']}"
    assert told["bytes"] == file.stat().st_size
    assert sniff_ext(file.read_bytes()[:64]) == told["ext"] == ext
    assert (told["engine"], told["source"], told["meta"]["seed"]) == ("synthetic", "synthetic", told["seed"])
    assert set(told["seconds"]) == {"start", "job", "total"}


def test_an_answer_is_printed_and_progress_goes_to_stderr(generate: Any, folder: Path) -> None:
    done = generate("llm", "--model", "synthetic-llm", "--prompt", "hello", "--seed", 7)
    assert done.status == 0, done.err
    assert done.out.startswith("[synthetic] reply to prompt")
    assert done.out.count("\n") == 1
    assert done.err.startswith("starting\n")
    assert "engine synthetic, seed 7, " in done.err
    assert list(folder.iterdir()) == []


def test_the_name_of_the_file_says_the_format(generate: Any, folder: Path) -> None:
    asked = ("image", "--model", "synthetic-image", "--prompt", "a cup", "--width", 32, "--height", 32)
    for name in ("a.png", "b.gif"):
        assert generate(*asked, "-o", name).status == 0
    assert [Image.open(name).format for name in ("a.png", "b.gif")] == ["PNG", "GIF"]


def test_a_sound_of_this_machine_is_written_down(generate: Any, folder: Path) -> None:
    Path("a.wav").write_bytes(silence())
    done = generate("stt", "--source-id", "synthetic", "--audio", "a.wav", "--language", "en", "--json")
    assert done.status == 0, done.err
    told = json.loads(done.out)
    assert told["kind"] == "audio_stt"
    assert told["result"]["text"]
    plain = generate("stt", "--source-id", "synthetic", "--audio", "a.wav", "--language", "en")
    assert plain.out == told["result"]["text"] + "\n"


def test_pictures_of_this_machine_and_the_seed_reach_the_engine(program: Any, slow: Any, folder: Path) -> None:
    for name, colour in (("a.png", "red"), ("m.png", "white")):
        Image.new("RGB", (8, 6), colour).save(name)
    asked = ("image", "--model", "slow-image", "--prompt", "x", "--seed", "18446744073709551615", "--json")
    done = program("generate", *asked, "--init-image", "a.png", "--input", "mask=m.png", "-o", "out.png", environ=slow)
    assert done.status == 0, done.err
    told = json.loads(done.out)
    assert (told["seed"], told["meta"]["inputs"]) == (2**64 - 1, ["image", "mask"])
    assert Path("out.png").read_bytes() == Path("a.png").read_bytes()


def test_an_engine_that_is_not_here_is_refused_with_the_command_that_installs_it(generate: Any, folder: Path) -> None:
    done = generate("llm", "--source-id", "parakeet", "--prompt", "hello")
    assert (done.status, done.out) == (1, "")
    assert "pip install studio-worker-parakeet" in done.err
    assert "Traceback" not in done.err


def test_a_model_that_nobody_lists_is_never_answered_by_another_engine(generate: Any, folder: Path) -> None:
    done = generate("image", "--model", "sd-turbo", "--prompt", "x")
    assert done.status == 1
    assert "no engine on this worker serves this job (kind image, model 'sd-turbo', no source)" in done.err
    assert list(folder.iterdir()) == []


def test_a_failure_is_an_object_too_where_json_is_asked_for(generate: Any) -> None:
    done = generate("image", "--model", "sd-turbo", "--prompt", "x", "--json")
    assert done.status == 1
    told = json.loads(done.out)
    assert (told["kind"], told["model"], told["source"]) == ("image", "sd-turbo", None)
    assert told["error"]["retryable"] is False
    assert "no engine on this worker serves this job" in told["error"]["message"]
    assert told["error"]["message"] in done.err


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["image", "--source-id", "synthetic"], "give --prompt TEXT: task.prompt: is required"),
        (["image", "--prompt", "x", "--set", "stpes=4"], "did you mean steps?"),
        (["image", "--prompt", "x", "--max-tokens", "4"], "--max-tokens means nothing for image"),
        (["picture", "--prompt", "x"], "'picture' is not one of 'image', 'llm'"),
        (["image", "--prompt", "x", "--steps", "-1"], "must be a whole number"),
        (["image", "--prompt", "x", "--model", "m", "-o", "none/a.png"], "-o: there is no folder none"),
        (["llm", "--prompt", "x", "--model", "m", "--schema", "none.json"], "--schema: none.json cannot be read"),
        (
            ["tts", "--text", "x", "--model", "synthetic-tts", "-o", "b.png"],
            "gives no png; it gives wav, mp3, ogg, flac",
        ),
        ([], "say what to make: KIND is one of"),
    ],
)
def test_a_wrong_use_is_one_sentence_and_exit_2(generate: Any, args: list[str], sentence: str) -> None:
    done = generate(*args)
    assert (done.status, done.out) == (2, "")
    assert sentence in done.err


@pytest.mark.parametrize(
    ("option", "wrong", "largest"),
    [
        ("--steps", "abc", "from 1 to 1000"),
        ("--steps", "0", "from 1 to 1000"),
        ("--width", "16385", "from 1 to 16384"),
        ("--height", "0", "from 1 to 16384"),
        ("--max-tokens", "1000001", "from 1 to 1000000"),
        ("--seed", "18446744073709551616", "from 0 to 18446744073709551615"),
    ],
)
def test_a_number_out_of_its_range_is_refused_with_the_range_of_its_own(
    generate: Any, option: str, wrong: str, largest: str
) -> None:
    done = generate("llm" if option == "--max-tokens" else "image", "--prompt", "x", option, wrong)
    assert (done.status, done.out) == (2, "")
    assert f"Invalid value for '{option}': must be a whole number {largest}" in done.err


def test_a_file_that_is_there_is_kept_unless_force_is_given(generate: Any, folder: Path) -> None:
    Path("a.png").write_bytes(b"mine")
    asked = ("image", "--model", "synthetic-image", "--prompt", "x", "--width", 16, "--height", 16, "-o", "a.png")
    assert generate(*asked).status == 2
    assert Path("a.png").read_bytes() == b"mine"
    done = generate(*asked, "--force")
    assert done.status == 0, done.err
    assert sniff_ext(Path("a.png").read_bytes()[:64]) == "png"
    assert "wrote a.png: " in done.err


def test_bytes_go_through_a_pipe(folder: Path) -> None:
    asked = ["generate", "image", "--model", "synthetic-image", "--prompt", "x", "--set", "ext=png", "-o", "-"]
    done = subprocess.run(
        [sys.executable, "-m", "studio_worker", *asked], capture_output=True, check=False, timeout=60, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert Image.open(io.BytesIO(done.stdout)).format == "PNG"
    assert list(folder.iterdir()) == []


def test_a_line_from_stdin_is_tried_as_a_studio_would_get_it(program: Any, folder: Path) -> None:
    line = {"id": "a", "model": "m", "task": {"kind": "llm", "messages": [{"role": "user", "content": "hi"}]}}
    line["modelSource"] = {"engine": "synthetic", "files": []}
    done = program("generate", "--job", "-", stdin=json.dumps(line))
    assert done.status == 0, done.err
    assert done.out.startswith("[synthetic] reply")


def test_it_runs_beside_a_worker_and_leaves_no_trace_but_its_result(generate: Any, home: Path, folder: Path) -> None:
    state = home / ".local" / "state" / "minis-studio-worker"
    with StateLock(state):
        done = generate("llm", "--model", "synthetic-llm", "--prompt", "hello")
    assert done.status == 0, done.err
    assert list((home / "tmp").iterdir()) == []
    assert not (home / "models").exists()
    assert {path.name for path in state.iterdir()} <= {"worker.lock", "models.sqlite"}


@pytest.fixture
def weights(folder: Path) -> Iterator[Callable[[bytes], str]]:
    """A server of this machine; the call says what it serves, and gives the URL."""
    served: list[bytes] = []

    class Weights(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(served[-1])))
            self.end_headers()
            self.wfile.write(served[-1])

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Weights) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def serve(data: bytes) -> str:
            served.append(data)
            return f"http://127.0.0.1:{server.server_port}/weights.bin"

        yield serve
        server.shutdown()
        thread.join()


def test_model_files_that_are_missing_are_downloaded_once_and_belong_to_the_worker(
    generate: Any, weights: Any, home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_WORKER_ALLOW_PRIVATE_URLS", "true")
    file = {"role": "model", "url": weights(b"w" * 300_000), "filename": "weights.bin"}
    Path("source.json").write_text(json.dumps({"engine": "synthetic", "files": [file]}))
    first = generate("llm", "--source", "source.json", "--prompt", "hello")
    assert first.status == 0, first.err
    assert "download 0.3 of 0.3 MB" in first.err
    again = generate("llm", "--source", "source.json", "--prompt", "hello")
    assert again.status == 0, again.err
    assert "download" not in again.err
    assert (home / "models" / "weights.bin").stat().st_size == 300_000
    ledger = Ledger(home / ".local" / "state" / "minis-studio-worker" / "models.sqlite")
    (record,) = ledger.records()
    ledger.close()
    assert (record.path.name, record.model, record.is_owned) == ("weights.bin", "weights", True)


class Started:
    """A `generate` that goes on, seen at a terminal of its own where `looks_on`."""

    def __init__(self, environ: dict[str, str], *args: str, looks_on: bool = False) -> None:
        self._near, far = pty.openpty() if looks_on else (-1, subprocess.PIPE)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "studio_worker", "generate", *args],
            stdout=far,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environ,
        )
        if looks_on:
            os.close(far)
        self.err = ""

    def says(self, part: str) -> None:
        """Return once stderr has said `part`."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.err += line
            if part in line:
                return
        pytest.fail(f"never said {part!r}, but {self.err!r}")

    def screen(self) -> str:
        """Everything that the terminal shows until the end."""
        return read_all(self._near)

    def ends(self) -> int:
        out, rest = self.process.communicate(timeout=60)
        self.out = out or ""
        self.err += rest
        return self.process.returncode


@pytest.fixture
def start(slow: dict[str, str]) -> Iterator[Callable[..., Started]]:
    started: list[Started] = []

    def begin(*args: str, **more: bool) -> Started:
        started.append(Started(slow, *args, **more))
        return started[-1]

    yield begin
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.communicate()


def test_an_answer_comes_piece_by_piece_on_a_terminal_and_cannot_drive_it(start: Any) -> None:
    running = start("llm", "--model", "slow-llm", "--prompt", "go", looks_on=True)
    assert running.screen() == "one \\x1b[2Jtwo\r\nthree\r\n"
    assert running.ends() == 0, running.err
    assert "engine slow" in running.err


def test_an_answer_reaches_a_pipe_whole_and_as_it_is(start: Any) -> None:
    running = start("llm", "--model", "slow-llm", "--prompt", "go")
    assert running.ends() == 0, running.err
    assert running.out == "whole\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_job_and_exits_130(start: Any, home: Path, number: int) -> None:
    running = start("llm", "--model", "slow-llm", "--prompt", "wait", looks_on=True)
    running.says("waiting")
    running.process.send_signal(number)
    assert running.screen() == ""
    assert running.ends() == 130
    assert "Traceback" not in running.err
    assert list((home / "tmp").iterdir()) == []


def test_a_signal_before_there_is_a_job_exits_130_too(start: Any, home: Path) -> None:
    running = start("llm", "--model", "slow-llm", "--prompt", "wait", looks_on=True)
    running.says("starting")
    running.process.send_signal(signal.SIGINT)
    assert running.screen() == ""
    assert running.ends() == 130
    assert "Traceback" not in running.err


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_cancelled_job_is_a_word_and_with_json_an_object(start: Any, more: list[str]) -> None:
    running = start("llm", "--model", "slow-llm", "--prompt", "wait", *more)
    running.says("waiting")
    running.process.send_signal(signal.SIGINT)
    assert running.ends() == 130
    assert "\ncancelled\n" in running.err
    told = json.loads(running.out) if more else running.out
    asked = {"kind": "llm", "model": "slow-llm", "source": None}
    assert told == (asked | {"error": {"message": "cancelled", "retryable": False}} if more else "")


def test_a_second_signal_ends_the_command_at_once_and_exits_130_too(start: Any, home: Path) -> None:
    heard = home / "heard"
    os.mkfifo(heard)
    running = start("image", "--model", "slow-image", "--prompt", f"deaf {heard}")
    running.says("deaf")
    running.process.send_signal(signal.SIGINT)
    assert heard.read_text() == "asked to end"
    running.process.send_signal(signal.SIGINT)
    assert running.ends() == 130


def test_the_next_call_removes_what_a_killed_one_left_and_nothing_of_one_that_lives(
    start: Any, program: Any, home: Path
) -> None:
    killed = start("llm", "--model", "slow-llm", "--prompt", "wait")
    killed.says("waiting")
    (left,) = (home / "tmp").glob(f"{PREFIX}*")
    lives = start("llm", "--model", "slow-llm", "--prompt", "wait")
    lives.says("waiting")
    killed.process.kill()
    killed.ends()
    assert left.is_dir()
    assert program("generate", "llm", "--model", "synthetic-llm", "--prompt", "hello").status == 0
    (living,) = (home / "tmp").glob(f"{PREFIX}*")
    assert living != left
    lives.process.send_signal(signal.SIGINT)
    assert lives.ends() == 130
    assert not living.exists()


def test_an_engine_that_dies_is_a_sentence_and_no_hang(start: Any) -> None:
    running = start("llm", "--model", "slow-llm", "--prompt", "die", looks_on=True)
    assert running.screen() == ""
    assert running.ends() == 1
    assert "slow" in running.err
    assert "Traceback" not in running.err
