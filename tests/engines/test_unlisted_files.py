"""Files that a package's list does not name, and that Python would import for those it names."""

import importlib
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from studio_worker.engines.installed_content import NoContent, installed_content
from studio_worker.engines.unlisted_files import unlisted_file

from .packages import put

PACKAGE = ("fox/__init__.py", "fox/engine.py", "fox/data/words.txt", "fox-1.0.dist-info/METADATA")


@pytest.fixture
def lay(tmp_path):
    """Puts empty files into a folder of packages; gives that folder."""
    root = tmp_path / "site-packages"

    def write(*names: str) -> Path:
        for name in names:
            put((root / name).parent, Path(name).name, "")
        return root

    return write


def test_a_package_as_its_list_says_holds_nothing_else(lay):
    assert unlisted_file(lay(*PACKAGE), set(PACKAGE)) is None


@pytest.mark.parametrize(
    "planted",
    [
        "fox/engine/__init__.py",
        "fox/engine/more/deep.py",
        "fox/engine.so",
        f"fox/engine{EXTENSION_SUFFIXES[0]}",
        "fox/engine.cpython-399-x86_64-linux-gnu.so",
        "fox/engine.pyd",
        "fox/more.py",
        "fox/more.pyc",
        "fox/data/__init__.py",
        "fox/__pycache__/more.py",
        "fox.py",
        f"fox{EXTENSION_SUFFIXES[-1]}",
    ],
)
def test_a_module_more_in_a_packages_folder_or_of_its_name_is_found(planted, lay):
    assert unlisted_file(lay(*PACKAGE, planted), set(PACKAGE)) == planted


@pytest.mark.parametrize(
    "harmless",
    [
        "fox/__pycache__/engine.cpython-311.pyc",
        "fox/__pycache__/gone.cpython-311.pyc",
        "fox/settings.json",
        "fox/engine/notes.txt",
        "vixen/__init__.py",
        "vixen.py",
        "foxes.py",
        "fox-1.0.dist-info/engine.py",
    ],
)
def test_what_is_no_module_of_it_does_not_matter(harmless, lay):
    assert unlisted_file(lay(*PACKAGE, harmless), set(PACKAGE)) is None


def test_a_link_to_a_folder_is_found_as_one(lay, tmp_path):
    root = lay(*PACKAGE)
    put(tmp_path / "elsewhere", "__init__.py", "")
    (root / "fox" / "engine").symlink_to(tmp_path / "elsewhere")
    assert unlisted_file(root, set(PACKAGE)) == "fox/engine"


def test_a_single_module_minds_what_bears_its_name_alone(lay):
    root = lay("fox.py", "vixen.py", "fox_more.py", "fox/notes.txt")
    assert unlisted_file(root, {"fox.py"}) is None


@pytest.mark.parametrize("planted", ["fox/__init__.py", "fox/__init__.so", "fox.so", "fox.abi3.so"])
def test_what_takes_the_place_of_a_single_module_is_found(planted, lay):
    assert unlisted_file(lay("fox.py", planted), {"fox.py"}) == planted


def test_a_namespace_holds_the_packages_of_others(lay):
    listed = {"animals/fox/__init__.py", "animals/fox/engine.py"}
    root = lay(*listed, "animals/vixen/__init__.py", "animals/vixen/engine.py")
    assert unlisted_file(root, listed) is None


@pytest.mark.parametrize("planted", ["animals/__init__.py", "animals.py", "animals/fox.so", "animals/fox/more.py"])
def test_what_takes_the_place_of_a_namespace_or_of_a_package_in_it_is_found(planted, lay):
    listed = {"animals/fox/__init__.py", "animals/fox/engine.py"}
    assert unlisted_file(lay(*listed, planted), listed) == planted


def test_files_outside_of_the_packages_do_not_make_their_folders_its_own(lay):
    root = lay("fox.py", "../../bin/fox.py", "../../bin/vixen.py")
    assert unlisted_file(root, {"fox.py", "../../bin/fox.py", "/etc/fox.py"}) is None


def test_a_folder_of_libraries_may_hold_those_of_others(lay):
    listed = {*PACKAGE, "lib/libfox.so"}
    assert unlisted_file(lay(*listed, "lib/libvixen.so", "lib/libfox.so.1"), listed) is None
    assert unlisted_file(lay("lib/libfox.py"), listed) == "lib/libfox.py"


def test_the_same_module_twice_in_the_list_is_the_packages_own_matter(lay):
    listed = {"fox/__init__.py", "fox/engine.py", "fox/engine/__init__.py", "fox.py"}
    assert unlisted_file(lay(*listed), listed) is None


def test_a_listed_folder_that_is_gone_holds_nothing(lay):
    assert unlisted_file(lay("vixen.py"), set(PACKAGE)) is None


# of an installed package


@pytest.fixture
def fox(tmp_path, monkeypatch):
    """The folder of an installed package whose ``fox_den.engine`` has a value."""
    root = tmp_path / "site"
    put(root / "fox_den", "__init__.py", "")
    put(root / "fox_den", "engine.py", "VALUE = 'listed'")
    put(root / "fox_den-1.0.dist-info", "METADATA", "Metadata-Version: 2.1\nName: fox-den\nVersion: 1.0\n")
    put(root / "fox_den-1.0.dist-info", "RECORD", "fox_den/__init__.py,,\nfox_den/engine.py,,\n")
    monkeypatch.syspath_prepend(root)
    return root / "fox_den"


def imported(root: Path) -> str:
    code = f"import sys; sys.path.insert(0, {str(root)!r}); import fox_den.engine; print(fox_den.engine.VALUE)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_folder_that_is_imported_in_place_of_a_listed_module_leaves_the_package_without_a_hash(fox):
    installed_content("fox-den")
    put(fox / "engine", "__init__.py", "VALUE = 'planted'")
    importlib.invalidate_caches()
    assert imported(fox.parent) == "planted"
    with pytest.raises(NoContent, match=r"fox_den/engine/__init__\.py, which its list.*remove it, or install"):
        installed_content("fox-den")


def test_the_hash_is_as_before_once_the_file_is_removed(fox):
    before = installed_content("fox-den")
    planted = put(fox, "more.py", "")
    with pytest.raises(NoContent, match=r"more\.py"):
        installed_content("fox-den")
    planted.unlink()
    assert installed_content("fox-den") == before
