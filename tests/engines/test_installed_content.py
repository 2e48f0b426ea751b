import hashlib
import json
import os
import subprocess
import sys

import pytest

from studio_worker.engines.installed_content import NoContent, installed_content

from .packages import list_files, wheel


@pytest.fixture
def fox(shop):
    """An installed package whose files are listed."""
    module = shop.engine("fox")
    info = shop.folder / "fox-1.0.dist-info"
    list_files(info, shop.folder / f"{module}.py")
    return shop.folder / f"{module}.py", info


def test_the_hash_is_over_each_file_and_its_path_in_order(fox):
    module, info = fox
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(info.parent).as_posix()}\n"
        for path in (info / "METADATA", info / "entry_points.txt", module)
    ]
    assert installed_content("fox").sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_a_package_says_its_name_and_version(fox):
    found = installed_content("fox")
    assert (found.distribution, found.version, found.wheel_sha256) == ("fox", "1.0", None)


@pytest.mark.parametrize("edited", ["module", "METADATA", "entry_points.txt"])
def test_an_edited_file_is_another_content(fox, edited):
    module, info = fox
    before = installed_content("fox")
    path = module if edited == "module" else info / edited
    path.write_text(path.read_text() + "\n")
    assert installed_content("fox").sha256 != before.sha256


def test_a_file_more_in_the_list_is_another_content(fox):
    module, info = fox
    before = installed_content("fox")
    more = module.with_name("fox_more.py")
    more.write_text("")
    list_files(info, module, more)
    assert installed_content("fox").sha256 != before.sha256


def test_a_moved_file_is_another_content(fox):
    module, info = fox
    before = installed_content("fox")
    moved = module.rename(module.with_name("plugin_vixen.py"))
    list_files(info, moved)
    assert installed_content("fox").sha256 != before.sha256


@pytest.mark.parametrize("name", ["INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "RECORD"])
def test_what_installers_write_down_does_not_count(fox, name):
    module, info = fox
    before = installed_content("fox")
    (info / name).write_text('{"url": "https://mirror.example/fox.whl"}')
    if name != "RECORD":
        list_files(info, module, installer="uv")
    else:
        (info / name).write_text(
            f"{module.name},,\nfox-1.0.dist-info/METADATA,,\nfox-1.0.dist-info/entry_points.txt,,\n"
        )
    assert installed_content("fox").sha256 == before.sha256


@pytest.mark.parametrize("code", ["fox_more.pyc", "__pycache__/fox_more.cpython-311.pyc", "__pycache__/plugin_fox.pyc"])
def test_byte_code_whose_source_is_not_there_counts(fox, code):
    module, info = fox
    path = module.parent / code
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"made elsewhere")
    list_files(info, module, path)
    before = installed_content("fox")
    path.write_bytes(b"made anew")
    assert installed_content("fox").sha256 != before.sha256


def test_byte_code_and_start_scripts_do_not_count(fox):
    module, info = fox
    before = installed_content("fox")
    code = module.parent / "__pycache__" / "plugin_fox.cpython-311.pyc"
    code.parent.mkdir(exist_ok=True)
    code.write_bytes(b"code")
    list_files(info, module, code)
    with (info / "RECORD").open("a") as record:
        record.write("../../../bin/fox,,\n")
    assert installed_content("fox").sha256 == before.sha256


def test_a_file_of_the_packages_own_named_like_an_installers_counts(fox):
    module, info = fox
    before = installed_content("fox")
    own = module.with_name("REQUESTED")
    own.write_text("mine")
    list_files(info, module, own)
    assert installed_content("fox").sha256 != before.sha256


def test_the_same_wheel_gives_the_same_content_wherever_pip_puts_it(tmp_path, monkeypatch):
    made = wheel(tmp_path, "fox-wheel", "FOX = 1\n", entry_points="[console_scripts]\nfox-cry = fox_wheel:FOX\n")
    found = []
    for folder in ("one", "two"):
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", folder, made]
        subprocess.run(command, cwd=tmp_path, check=True, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
        with monkeypatch.context() as patch:
            patch.syspath_prepend(tmp_path / folder)
            found.append(installed_content("fox-wheel"))
    assert found[0] == found[1]
    assert found[0].wheel_sha256 == hashlib.sha256(made.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "noted",
    [{"archive_info": {"hashes": {"sha256": "short"}}}, {"archive_info": []}, {"archive_info": {"hashes": 3}}, [], "["],
    ids=str,
)
def test_an_archive_hash_that_is_none_is_not_believed(fox, noted):
    (fox[1] / "direct_url.json").write_text(noted if isinstance(noted, str) else json.dumps(noted))
    assert installed_content("fox").wheel_sha256 is None


def test_a_package_that_is_not_installed_has_no_content():
    with pytest.raises(NoContent, match="nobody-made-this is not installed"):
        installed_content("nobody-made-this")


def test_an_editable_install_has_no_content_that_could_be_certified(fox):
    (fox[1] / "direct_url.json").write_text('{"url": "file:///home/fox", "dir_info": {"editable": true}}')
    with pytest.raises(NoContent, match=r"editable.*install a wheel of it"):
        installed_content("fox")


def test_a_package_without_a_list_of_its_files_is_refused(shop):
    shop.engine("fox")
    with pytest.raises(NoContent, match="no list of its files"):
        installed_content("fox")


def test_a_listed_file_that_is_gone_is_named(fox):
    fox[0].unlink()
    with pytest.raises(NoContent, match=r"plugin_fox\.py cannot be read: No such file"):
        installed_content("fox")


def test_a_pipe_in_place_of_a_file_is_not_waited_for(fox):
    fox[0].unlink()
    os.mkfifo(fox[0])
    with pytest.raises(NoContent, match="no regular file"):
        installed_content("fox")
