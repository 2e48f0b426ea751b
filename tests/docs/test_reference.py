from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys

import pytest

import studio_worker
from studio_worker import testing, wire
from studio_worker.errors import BadClaim
from studio_worker.testing import chaos
from studio_worker.testing.claims import image_claim
from studio_worker.wire.base import WireModel
from studio_worker.wire.claims import Envelope, claim_to_wire, parse_claim
from studio_worker.wire.frames import STUDIO_FRAMES, WORKER_FRAMES, Frame
from studio_worker.wire.tasks import TASK_TYPES, parse_task


def test_the_generated_reference_follows_the_code(root):
    done = subprocess.run(
        [sys.executable, root / "tools" / "reference.py", "--check"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def wire_models():
    """Every public object of the wire."""
    for module in pkgutil.iter_modules(wire.__path__, f"{wire.__name__}."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, type) and issubclass(value, WireModel) and name[0] != "_":
                yield value


def test_every_object_of_the_wire_is_in_its_reference_with_every_field(root):
    page = (root / "docs" / "reference" / "wire.md").read_text()
    sections = dict(part.split("\n", 1) for part in re.split(r"^### ", page, flags=re.MULTILINE)[1:])
    names = {Envelope: "Claim"} | {frame: frame.type for frame in (*WORKER_FRAMES.values(), *STUDIO_FRAMES.values())}
    names |= {task: task.kind.value for task in TASK_TYPES.values()}
    for model in set(wire_models()) - {WireModel, Frame}:
        section = sections[names.get(model, model.__name__)]
        assert " ".join(model.__doc__.split()) in section
        for key, field in model.model_fields.items():
            assert f"\n| `{field.alias or key}` |" in section, (model, key)
    told = re.findall(r"^\| `(\w+)`", sections["Claim"], re.MULTILINE)
    assert set(told) == set(claim_to_wire(parse_claim(image_claim("a") | {"attempt": 1})))


TASKS = {
    "image": {"prompt": "a"},
    "llm": {"messages": [{"role": "user", "content": "a"}]},
    "audio_stt": {"inputUrl": "https://a.example/"},
    "audio_tts": {"text": "a"},
    "video": {"prompt": "a"},
}


@pytest.mark.parametrize("kind", list(TASK_TYPES))
def test_the_bounds_of_a_tasks_numbers_are_those_that_are_kept(root, kind):
    page = (root / "docs" / "reference" / "wire.md").read_text()
    section = page.partition(f"\n### {kind.value}\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (?:integer|number) \|.*\| ([\d.,]+) to ([\d.,]+) \|$", section, re.MULTILINE)
    numbers = [(name, *(float(each.replace(",", "")) for each in bounds)) for name, *bounds in rows]
    for name, low, high in numbers:
        for value in (low, high):
            raw = {"kind": kind.value, **TASKS[kind.value], name: int(value) if value.is_integer() else value}
            if value < 2**60:
                parse_task(raw)
            for beyond in (low - 1, int(high * 2)):
                with pytest.raises(BadClaim, match=f"task.{name}"):
                    parse_task({**raw, name: beyond})
    assert bool(numbers) == (kind.value != "audio_stt")


def test_every_public_name_is_in_the_python_reference(root):
    page = "".join((root / "docs" / "reference" / name).read_text() for name in ("api.md", "hooks.md"))
    modules = re.findall(r"^::: (studio_worker\.\S+)$", page, re.MULTILINE)
    whole = {module for module in modules if module.rpartition(".")[2].islower()}
    for name in set(studio_worker.__all__) - {"WorkerEvent", "__version__", "hookimpl"}:
        home = getattr(getattr(studio_worker, name), "__module__", "")
        assert f"studio_worker.{name}" in modules or home in whole, f"{name} is in neither page"


@pytest.mark.parametrize("package", [testing, chaos], ids=lambda package: package.__name__)
def test_every_name_of_the_testing_kit_is_in_the_python_reference(root, package):
    page = (root / "docs" / "reference" / "api.md").read_text()
    told = set(re.findall(rf"^::: {re.escape(package.__name__)}\.(\w+)$", page, re.MULTILINE))
    assert set(package.__all__) - told == set()


def test_every_page_is_in_the_sites_navigation(root):
    navigation = (root / "zensical.toml").read_text()
    for page in (root / "docs").glob("**/*.md"):
        assert f'"{page.relative_to(root / "docs").as_posix()}"' in navigation


def test_the_page_of_faults_has_every_row_as_the_catalogue_has_it(root):
    done = subprocess.run(
        [sys.executable, root / "tools" / "faults.py", "--check"], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_every_command_of_the_reference_shows_an_example(root):
    page = (root / "docs" / "reference" / "cli.md").read_text()
    for section in re.split(r"^##+ ", page, flags=re.MULTILINE)[1:]:
        assert "\nExample: `studio-worker " in section, section.splitlines()[0]


def test_every_page_of_the_navigation_is_there(root):
    pages = re.findall(r'= "([\w/-]+\.md)"', (root / "zensical.toml").read_text())
    assert [page for page in pages if not (root / "docs" / page).is_file()] == []
    assert len(pages) == len(set(pages))
