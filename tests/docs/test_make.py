from __future__ import annotations

import shutil
import subprocess

import pytest


def make(root, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=root, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("target", ["demo", "test"])
def test_a_python_that_is_too_old_is_explained_in_a_sentence(root, tmp_path, target):
    venv = tmp_path / "venv"
    done = make(root, target, "PYTHON=false", f"VENV={venv}")
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr
    assert not venv.exists()


def test_a_python_without_venv_is_explained_in_a_sentence(root, tmp_path):
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\ncase "$*" in *venv*) mkdir -p "$3"; exit 1;; esac\n')
    python.chmod(0o755)
    done = make(root, "demo", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0
    assert "its venv module is missing" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_fuzz_names_the_targets_and_the_seconds(root, tmp_path):
    said = make(root, "--dry-run", "fuzz", "SECS=5", "TARGETS=claim url", f"VENV={tmp_path}").stdout
    assert "--group fuzz" in said
    assert "tools/fuzz.py claim url --secs 5" in said


@pytest.fixture
def bare(tmp_path):
    """Run make where these programs are, each a line of the shell, and none other than it needs itself."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("bash", "timeout"):
        (programs / name).symlink_to(shutil.which(name))

    def run(root, target: str, **lines: str) -> str:
        for name, line in lines.items():
            (programs / name).write_text(f"#!/bin/bash\n{line}\n")
            (programs / name).chmod(0o755)
        command = [shutil.which("make"), target]
        done = subprocess.run(
            command, cwd=root, env={"PATH": str(programs)}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_tools_that_an_ordinary_user_lacks_are_named_with_their_packages(root, bare):
    said = bare(root, "system-tools", id="echo 1000", ip="exit 0", mount="exit 0", **{"apt-get": "exit 0"})
    assert "not here, and not to be installed: strace util-linux." in said
    assert "(Debian: apt install strace util-linux)" in said


def test_tools_that_root_lacks_are_installed(root, bare, tmp_path):
    log = tmp_path / "log"
    said = bare(root, "system-tools", id="echo 0", ip="exit 0", mount="exit 0", **{"apt-get": f'echo "$@" >> {log}'})
    assert said == "installing strace util-linux for the tests of faults ...\n"
    assert log.read_text().splitlines() == [
        "update -qq",
        "install -y -qq --no-install-recommends strace util-linux",
    ]


def test_the_second_set_up_does_nothing(root, tmp_path):
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    for made in (venv / "bin" / "python", venv / "ready-demo"):
        made.touch()
    assert "up to date" in make(root, str(venv / "ready-demo"), f"VENV={venv}").stdout
