from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio_worker.config import BadSetting, ConfigSource
from studio_worker.errors import ConfigError

Write = Callable[[str | bytes], Path]
Records = list[dict[str, Any]]


def source(path: Path, environ: dict[str, str]) -> ConfigSource:
    return ConfigSource(path, environ)


def test_it_starts_with_the_file_and_the_environment(write: Write, environ: dict[str, str]) -> None:
    environ["STUDIO_WORKER_DEVICE"] = "cpu"
    current = source(write("max_concurrent_jobs = 3"), environ).current
    assert (current.max_concurrent_jobs, current.device) == (3, "cpu")


def test_it_says_where_each_setting_comes_from(write: Write, environ: dict[str, str]) -> None:
    environ["STUDIO_WORKER_DEVICE"] = "cpu"
    origins = source(write('max_concurrent_jobs = 3\ndevice = "cuda:0"'), environ).origins
    assert [origins[key] for key in ("max_concurrent_jobs", "device", "auto_start")] == [
        "file",
        "environment",
        "default",
    ]


def test_a_broken_file_is_refused_at_the_start(write: Write, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="line 1, column"):
        source(write("a = "), environ)


def test_an_unchanged_file_gives_the_same_object(write: Write, environ: dict[str, str]) -> None:
    settings = source(write("max_concurrent_jobs = 3"), environ)
    assert settings.refresh() is settings.current is settings.refresh()


def test_a_changed_file_takes_effect(write: Write, environ: dict[str, str]) -> None:
    settings = source(write("max_concurrent_jobs = 3"), environ)
    write("max_concurrent_jobs = 12")
    assert settings.refresh().max_concurrent_jobs == settings.current.max_concurrent_jobs == 12


def test_a_file_that_appears_takes_effect(config_file: Path, write: Write, environ: dict[str, str]) -> None:
    settings = source(config_file, environ)
    write("max_concurrent_jobs = 3")
    assert settings.refresh().max_concurrent_jobs == 3


def test_a_broken_edit_keeps_the_last_good_settings_and_warns_once(
    write: Write, environ: dict[str, str], records: Records
) -> None:
    settings = source(write("max_concurrent_jobs = 3"), environ)
    write("max_concurrent_jobs = 0")
    for _ in range(5):
        assert settings.refresh().max_concurrent_jobs == 3
    assert [record["event"] for record in records] == ["config.edit_ignored"]
    assert "max_concurrent_jobs must be" in records[0]["error"]


def test_a_mended_edit_takes_effect(write: Write, environ: dict[str, str]) -> None:
    settings = source(write("max_concurrent_jobs = 3"), environ)
    write("max_concurrent_jobs = ")
    settings.refresh()
    write("max_concurrent_jobs = 5")
    assert settings.refresh().max_concurrent_jobs == 5


def test_a_file_that_is_gone_keeps_the_last_good_settings(
    write: Write, environ: dict[str, str], records: Records
) -> None:
    path = write("max_concurrent_jobs = 3")
    settings = source(path, environ)
    path.unlink()
    assert settings.refresh().max_concurrent_jobs == settings.refresh().max_concurrent_jobs == 3
    assert [record["event"] for record in records] == ["config.edit_ignored"]


def test_an_unknown_key_warns_once_over_many_edits(write: Write, environ: dict[str, str], records: Records) -> None:
    settings = source(write("modles_root = 1"), environ)
    for number in range(1, 4):
        write(f"modles_root = 1\nmax_concurrent_jobs = {number * 7}")
        settings.refresh()
    assert [record["event"] for record in records if record["level"] == "WARNING"] == ["config.unknown_key"]


def test_setting_keeps_the_comments_and_the_order(write: Write, environ: dict[str, str]) -> None:
    path = write('# head\nmax_concurrent_jobs = 1 # slots\n\n[plugins.piper]\nvoice = "a" # mine\n# tail\n')
    assert source(path, environ).set("max_concurrent_jobs", "2").max_concurrent_jobs == 2
    assert path.read_text() == (
        '# head\nmax_concurrent_jobs = 2 # slots\n\n[plugins.piper]\nvoice = "a" # mine\n# tail\n'
    )


def test_setting_keeps_the_line_ends_of_another_system(write: Write, environ: dict[str, str]) -> None:
    path = write(b"# head\r\nauto_start = true\r\n")
    source(path, environ).set("auto_start", "no")
    assert path.read_bytes() == b"# head\r\nauto_start = false\r\n"


def test_a_new_setting_goes_before_the_tables(write: Write, environ: dict[str, str]) -> None:
    path = write("[plugins.piper]\na = 1\n")
    assert source(path, environ).set("device", "cpu").device == "cpu"
    assert ConfigSource(path, environ).current.plugins == {"piper": {"a": 1}}


def test_setting_without_a_file_makes_one_that_only_its_owner_reads(environ: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "config.toml"
    source(path, environ).set("device", "cpu")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("# ")


def test_setting_keeps_the_files_mode(write: Write, environ: dict[str, str]) -> None:
    path = write("")
    path.chmod(0o640)
    source(path, environ).set("device", "cpu")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_setting_leaves_nothing_else_in_the_folder(write: Write, environ: dict[str, str]) -> None:
    path = write("")
    source(path, environ).set("device", "cpu")
    assert [entry.name for entry in path.parent.iterdir()] == ["config.toml"]


def test_a_link_to_the_file_stays_a_link(write: Write, environ: dict[str, str], tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(write("auto_start = true"))
    source(link, environ).set("device", "cpu")
    assert link.is_symlink()
    assert 'device = "cpu"' in (tmp_path / "config.toml").read_text()


def test_a_read_only_file_is_left_alone_with_a_sentence(write: Write, environ: dict[str, str]) -> None:
    path = write("auto_start = true")
    path.chmod(0o444)
    settings = source(path, environ)
    with pytest.raises(ConfigError, match=r"is read-only \(mode 0444\), so nothing was changed"):
        settings.set("auto_start", "false")
    assert path.read_text() == "auto_start = true"
    assert settings.current.auto_start is True


def test_a_folder_that_takes_no_file_is_named(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"/proc/nowhere/config\.toml cannot be written, so nothing was changed"):
        source(Path("/proc/nowhere/config.toml"), environ).set("device", "cpu")


@pytest.mark.parametrize("text", ["nan", "-1", "inf", "many", "1e400"])
def test_a_bad_value_is_refused_and_nothing_is_written(text: str, write: Write, environ: dict[str, str]) -> None:
    path = write("vram_threshold_gb = 8.0")
    with pytest.raises(BadSetting, match="vram_threshold_gb must be a number of GB"):
        source(path, environ).set("vram_threshold_gb", text)
    assert path.read_text() == "vram_threshold_gb = 8.0"


def test_an_unknown_setting_is_refused_with_the_nearest(config_file: Path, environ: dict[str, str]) -> None:
    with pytest.raises(BadSetting, match="modles_root is no setting; models_root is one"):
        source(config_file, environ).set("modles_root", "/m")
    assert not config_file.exists()


def test_an_empty_value_removes_the_setting(write: Write, environ: dict[str, str]) -> None:
    path = write('# a\ndevice = "cpu"\nauto_start = true\n')
    assert source(path, environ).set("device", "").device is None
    assert path.read_text() == "# a\nauto_start = true\n"


def test_removing_what_is_not_there_changes_nothing(write: Write, environ: dict[str, str]) -> None:
    path = write("auto_start = true\n")
    source(path, environ).set("plugins.piper.voice", "")
    assert path.read_text() == "auto_start = true\n"


def test_a_plugins_setting_is_written_as_toml_where_it_is_some(config_file: Path, environ: dict[str, str]) -> None:
    settings = source(config_file, environ)
    settings.set("plugins.whisper.threads", "4")
    settings.set("plugins.whisper.device", "cpu")
    settings.set("plugins.piper.voices", '["a", "b"]')
    assert settings.current.plugins == {"whisper": {"threads": 4, "device": "cpu"}, "piper": {"voices": ["a", "b"]}}
    assert "[plugins.whisper]" in config_file.read_text()


def test_a_preference_is_always_text(config_file: Path, environ: dict[str, str]) -> None:
    assert source(config_file, environ).set("engine_preferences.onnx", "1").engine_preferences == {"onnx": "1"}


def test_an_environment_is_set_by_its_name(config_file: Path, environ: dict[str, str]) -> None:
    settings = source(config_file, environ).set("engine_environments.lama", "~/envs/lama")
    assert settings.engine_environments == {"lama": Path("~/envs/lama")}


@pytest.mark.parametrize(
    "key", ["plugins.piper", "plugins..a", "device.x", "engine_preferences.a.b", "engine_environments.a.b"]
)
def test_a_key_that_reaches_nowhere_is_refused(key: str, config_file: Path, environ: dict[str, str]) -> None:
    with pytest.raises(BadSetting, match=r"must be|no setting"):
        source(config_file, environ).set(key, "1")


def test_a_plugins_value_that_json_cannot_carry_is_refused(config_file: Path, environ: dict[str, str]) -> None:
    with pytest.raises(BadSetting, match="not finite"):
        source(config_file, environ).set("plugins.piper.speed", "nan")
    assert not config_file.exists()


def test_setting_a_secret_writes_it_and_hides_it(config_file: Path, environ: dict[str, str]) -> None:
    settings = source(config_file, environ)
    settings.set("hf_token", "hunter2")
    assert 'hf_token = "hunter2"' in config_file.read_text()
    assert "hunter2" not in str(settings.get("hf_token"))


def test_the_environment_still_wins_after_setting(config_file: Path, environ: dict[str, str]) -> None:
    settings = source(config_file, environ | {"STUDIO_WORKER_DEVICE": "cpu"})
    assert settings.set("device", "cuda:0").device == "cpu"
    assert settings.origins["device"] == "environment"


def test_a_file_that_broke_since_the_start_is_not_overwritten(write: Write, environ: dict[str, str]) -> None:
    settings = source(write("auto_start = true"), environ)
    path = write("auto_start = ")
    with pytest.raises(ConfigError, match="is no TOML"):
        settings.set("device", "cpu")
    assert path.read_text() == "auto_start = "


def test_another_setting_that_is_bad_is_blamed_on_its_own_line(write: Write, environ: dict[str, str]) -> None:
    settings = source(write("auto_start = true"), environ)
    path = write("auto_start = 3")
    with pytest.raises(ConfigError, match=f"{path}, line 1: auto_start must be true or false"):
        settings.set("device", "cpu")


def test_getting_reaches_into_tables(write: Write, environ: dict[str, str]) -> None:
    settings = source(write('[plugins.piper.deep]\nvoice = "a"'), environ)
    assert settings.get("plugins.piper.deep.voice") == "a"


@pytest.mark.parametrize("key", ["nothing", "plugins.none", "device.x"])
def test_getting_what_is_not_there_is_an_error(key: str, config_file: Path, environ: dict[str, str]) -> None:
    with pytest.raises(BadSetting, match=r"is no setting|is not set"):
        source(config_file, environ).get(key)


def test_many_threads_may_refresh_and_set_at_once(config_file: Path, environ: dict[str, str]) -> None:
    settings = source(config_file, environ)
    writers = [threading.Thread(target=settings.set, args=(f"plugins.p.k{at}", str(at))) for at in range(8)]
    readers = [threading.Thread(target=settings.refresh) for _ in range(8)]
    for thread in [*writers, *readers]:
        thread.start()
    for thread in [*writers, *readers]:
        thread.join()
    assert settings.refresh().plugins == {"p": {f"k{at}": at for at in range(8)}}


def test_an_edit_of_the_same_size_within_one_clock_tick_is_seen_by_its_inode(
    write: Write, environ: dict[str, str], tmp_path: Path
) -> None:
    path = write("max_concurrent_jobs = 3")
    settings = source(path, environ)
    before = path.stat()
    other = tmp_path / "other"
    other.write_text("max_concurrent_jobs = 5")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    assert settings.refresh().max_concurrent_jobs == 5
