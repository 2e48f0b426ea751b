"""Files of samples: what a line may hold, and where a plugin's own file is found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio_worker import ImageTask, LlmTask, SttTask, TaskKind
from studio_worker.engines.entry_points import PluginRef
from studio_worker.testing import Sample, read_samples, shipped_samples
from studio_worker.testing.conformance.check import Examination
from studio_worker.testing.conformance.samples import BadSamples
from studio_worker.testing.conformance.subject import Subject

LLM = {"model": "small", "task": {"kind": "llm", "messages": [{"role": "user", "content": "hello"}]}}


def written(folder: Path, *lines: Any) -> Path:
    path = folder / "conformance.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_a_line_is_a_sample_with_its_paths_beside_the_file(tmp_path: Path) -> None:
    source = {"engine": "fox", "files": [], "cliDefaults": {}}
    more = {"modelSource": source, "files": {"model": ["a.bin", "/b.bin"]}, "inputs": {"image": "p.png"}, "seed": 9}
    (sample,) = read_samples(written(tmp_path, {**LLM, **more}))
    assert (sample.model, sample.kind, sample.seed) == ("small", TaskKind.LLM, 9)
    assert sample.source is not None
    assert sample.source.engine == "fox"
    assert sample.files == {"model": [tmp_path / "a.bin", Path("/b.bin")]}
    assert sample.inputs == {"image": tmp_path / "p.png"}


def test_a_line_of_a_jobs_file_is_a_sample_and_blank_lines_are_none(tmp_path: Path) -> None:
    found = read_samples(written(tmp_path, {"id": "one", "vramGbEstimate": 1, **LLM}, "", LLM))
    assert [sample.model for sample in found] == ["small", "small"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "line 2: "),
        ("[]", "line 2: is no JSON object"),
        ({"task": LLM["task"]}, "line 2: model: is required"),
        ({"model": "small"}, "line 2: task: must be an object"),
        ({**LLM, "task": {"kind": "image", "prompt": "a", "width": 0}}, r"line 2: task\.width"),
        ({**LLM, "modelSource": {"engine": "../x"}}, r"line 2: modelSource\.engine"),
        ({**LLM, "file": {}}, "line 2: file: unknown; a sample has model, task, modelSource, files, inputs, seed"),
        ({**LLM, "seed": -1}, "line 2: seed: must be a whole number"),
        ({**LLM, "seed": True}, "line 2: seed: must be a whole number"),
        ({**LLM, "files": []}, "line 2: files: must be an object"),
        ({**LLM, "files": {"model": []}}, r"line 2: files\.model: must be a path"),
        ({**LLM, "inputs": {"image": ["a", "b"]}}, r"line 2: inputs\.image: an input is one file"),
    ],
)
def test_a_line_that_is_no_sample_is_named_with_its_field(tmp_path: Path, line: Any, problem: str) -> None:
    with pytest.raises(BadSamples, match=problem):
        read_samples(written(tmp_path, LLM, line))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSamples, match=r"none\.jsonl cannot be read: "):
        read_samples(tmp_path / "none.jsonl")


def test_a_sample_says_which_of_its_files_are_missing(tmp_path: Path) -> None:
    here = tmp_path / "here.bin"
    here.write_bytes(b"x")
    task = ImageTask(prompt="a", init_image_url="https://x.example/p.png")
    assert Sample(task=task, model="m", files={"model": [here]}, inputs={"image": here}).missing == ()
    gone = tmp_path / "gone.bin"
    assert Sample(task=task, model="m", files={"model": [here, gone]}, inputs={"image": here}).missing == (str(gone),)
    assert Sample(task=task, model="m").missing == ("task.initImageUrl",)


def test_an_input_may_travel_in_the_task() -> None:
    assert Sample(task=SttTask(input_url="data:audio/wav;base64,UklGRg=="), model="m").missing == ()


def test_a_source_whose_files_lie_nowhere_is_missing_them(tmp_path: Path) -> None:
    file = {"role": "model", "url": "https://x.example/a.gguf", "filename": "a.gguf"}
    line = {**LLM, "modelSource": {"engine": "fox", "files": [file], "cliDefaults": {}}}
    (sample,) = read_samples(written(tmp_path, line))
    assert isinstance(sample.task, LlmTask)
    assert sample.missing == ("a.gguf",)


class Site:
    """A folder of `sys.path` with one installed distribution."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.info = folder / "studio_worker_fox-1.0.dist-info"
        self.info.mkdir(parents=True)
        (self.info / "METADATA").write_text("Metadata-Version: 2.1\nName: studio-worker-fox\nVersion: 1.0\n")

    def lists(self, *files: str) -> None:
        (self.info / "RECORD").write_text("".join(f"{file},,\n" for file in files))

    def holds(self, name: str, text: str = "{}") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


REF = PluginRef("fox", "studio_worker_fox.engine:plugin", "studio-worker-fox", "1.0")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(tmp_path / "site")
    return Site(tmp_path / "site")


def test_a_plugins_samples_are_found_by_its_list_of_files(site: Site) -> None:
    path = site.holds("studio_worker_fox/conformance.jsonl")
    site.lists("studio_worker_fox/__init__.py", "studio_worker_fox/conformance.jsonl")
    assert shipped_samples(REF) == path


def test_of_several_the_one_of_the_plugins_own_package_counts(site: Site) -> None:
    site.holds("other/conformance.jsonl")
    path = site.holds("studio_worker_fox/data/conformance.jsonl")
    site.lists("other/conformance.jsonl", "studio_worker_fox/data/conformance.jsonl")
    assert shipped_samples(REF) == path


def test_a_package_that_is_linked_to_its_folder_is_looked_for_there(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "src" / "studio_worker_fox" / "conformance.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    site.holds("_studio_worker_fox.pth", f"# a link\nimport sys\n{tmp_path / 'src'}\n")
    site.lists("_studio_worker_fox.pth")
    assert shipped_samples(REF) == path


def test_those_of_a_plugin_in_an_environment_are_found_where_its_interpreter_imports_from(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = site.holds("studio_worker_fox/conformance.jsonl")
    site.lists("studio_worker_fox/conformance.jsonl")
    monkeypatch.undo()
    assert shipped_samples(REF) is None
    assert shipped_samples(replace(REF, environment="apart", path=(str(site.folder),))) == path


def test_a_plugin_that_ships_none_has_none(site: Site) -> None:
    site.lists("studio_worker_fox/__init__.py", "studio_worker_fox/conformance.jsonl")
    assert shipped_samples(REF) is None
    assert shipped_samples(PluginRef("cat", "cat", "studio-worker-cat", "1")) is None


@pytest.mark.parametrize("samples", [{"model": "small"}, "conformance.jsonl", None, 3, [LLM], [None]], ids=str)
def test_what_is_no_list_of_samples_is_refused_with_what_is_needed(samples: Any) -> None:
    with pytest.raises(TypeError, match=r"samples (is|holds a value) of type \w+; a (list of )?Sample is needed"):
        Examination(Subject.of_engine("nowhere:make"), samples)
