from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.errors import BadClaim
from studio_worker.wire.model_source import MAX_KNOWN, ModelSource, parse_model_source, plain_file_name
from studio_worker.wire.strict_json import dumps, loads

FILE = {"role": "model", "url": "https://example.org/m.gguf", "filename": "m.gguf"}


@given(st.from_type(ModelSource))
def test_a_source_survives_the_wire(source):
    assert parse_model_source(loads(dumps(source.to_wire()))) == source


def test_files_and_defaults_may_be_missing_or_null():
    source = parse_model_source({"engine": "synthetic", "files": None, "cliDefaults": None})
    assert source == parse_model_source({"engine": "synthetic"})
    assert source.to_wire() == {"engine": "synthetic", "files": [], "cliDefaults": {}}


def test_a_source_that_is_named_again_is_read_once():
    raw = {"engine": "onnx", "files": [FILE]}
    assert parse_model_source(raw) is parse_model_source(loads(dumps(raw)))


def test_equal_looking_values_of_another_type_are_not_taken_for_those_read_before():
    assert parse_model_source({"engine": "x", "cliDefaults": {"steps": 1}}).cli_defaults.steps == 1
    for steps in (True, 1.0):
        with pytest.raises(BadClaim, match="steps"):
            parse_model_source({"engine": "x", "cliDefaults": {"steps": steps}})


def test_what_an_engine_could_change_is_read_anew():
    text = dumps({"engine": "x", "cliDefaults": {"chatTemplateKwargs": {"tools": []}}})
    parse_model_source(loads(text)).cli_defaults.chat_template_kwargs["tools"].append(1)
    assert parse_model_source(loads(text)).cli_defaults.chat_template_kwargs == {"tools": []}


def test_a_long_source_and_one_after_many_others_are_read_all_the_same():
    long = {"engine": "x", "files": [{**FILE, "filename": f"{number}.gguf", "url": "u" * 5000} for number in range(9)]}
    assert parse_model_source(long) == parse_model_source(long)
    for number in range(MAX_KNOWN * 2):
        assert parse_model_source({"engine": f"e{number}"}).engine == f"e{number}"


@pytest.mark.parametrize("engine", ["sd-cpp", "llama-cpp", "onnx", "synthetic", "parakeet", "acme.tts_2", "x"])
def test_engine_ids_are_an_open_set(engine):
    assert parse_model_source({"engine": engine}).engine == engine


@pytest.mark.parametrize(
    "engine", ["synthetic ", "sd-сpp", "*", "../x", "", "a/b", "x\n", "-x", "x" * 65, None, 5, ["onnx"]]
)
def test_an_engine_id_that_only_looks_right_is_refused(engine, refused):
    error = refused("modelSource.engine", engine)
    assert error.field == "modelSource.engine"
    assert str(error).isascii()


def test_a_look_alike_engine_id_shows_its_strange_letter(refused):
    assert "'sd-\\u0441pp'" in refused("modelSource.engine", "sd-сpp").problem


@pytest.mark.parametrize("role", ["model", "diffusion-model", "text-encoder-vision", "vae", "lora", "tokenizer"])
def test_file_roles_are_an_open_set(role):
    assert parse_model_source({"engine": "x", "files": [{**FILE, "role": role}]}).files[0].role == role


@pytest.mark.parametrize(
    ("place", "value", "field"),
    [
        ("modelSource", "sd-cpp", "modelSource"),
        ("modelSource", ["sd-cpp"], "modelSource"),
        ("modelSource.files", {}, "modelSource.files"),
        ("modelSource.files", [FILE] * 10_000, "modelSource.files"),
        ("modelSource.files", [None], "modelSource.files.0"),
        ("modelSource.files.0.role", "../x", "modelSource.files.0.role"),
        ("modelSource.files.0.url", "", "modelSource.files.0.url"),
        ("modelSource.files.0.url", "https://h/" + "a" * 9_000, "modelSource.files.0.url"),
        ("modelSource.files.0.filename", "../d.gguf", "modelSource.files.0.filename"),
        ("modelSource.files.0.approxBytes", -1, "modelSource.files.0.approxBytes"),
        ("modelSource.files.0.approxBytes", 1e30, "modelSource.files.0.approxBytes"),
        ("modelSource.files.0.approxBytes", 2**44 + 1, "modelSource.files.0.approxBytes"),
        ("modelSource.files.0.approxBytes", "4", "modelSource.files.0.approxBytes"),
        ("modelSource.files.0.sha256", "a" * 63, "modelSource.files.0.sha256"),
        ("modelSource.files.0.sha256", "g" * 64, "modelSource.files.0.sha256"),
        ("modelSource.cliDefaults", [], "modelSource.cliDefaults"),
        ("modelSource.cliDefaults.steps", "20; rm -rf /", "modelSource.cliDefaults.steps"),
        ("modelSource.cliDefaults.steps", 1_001, "modelSource.cliDefaults.steps"),
        ("modelSource.cliDefaults.cfgScale", True, "modelSource.cliDefaults.cfgScale"),
        ("modelSource.cliDefaults.width", -1, "modelSource.cliDefaults.width"),
        ("modelSource.cliDefaults.samplingMethod", "--help", "modelSource.cliDefaults.samplingMethod"),
        ("modelSource.cliDefaults.flowShift", 1e308, "modelSource.cliDefaults.flowShift"),
        ("modelSource.cliDefaults.zeroCondT", 1, "modelSource.cliDefaults.zeroCondT"),
        ("modelSource.cliDefaults.contextSize", 2**40, "modelSource.cliDefaults.contextSize"),
        ("modelSource.cliDefaults.chatTemplateKwargs", [], "modelSource.cliDefaults.chatTemplateKwargs"),
    ],
    ids=range(25),
)
def test_a_field_that_breaks_its_rule_is_named(place, value, field, refused):
    assert refused(place, value).field == field


def test_a_refused_sampler_brings_the_list_of_samplers(refused):
    assert "euler_a" in refused("modelSource.cliDefaults.samplingMethod", "--help").problem


def test_zero_and_the_empty_sampler_mean_no_default():
    raw = {"cfgScale": 0, "steps": 0, "width": 0, "height": 0, "samplingMethod": "", "mmap": True, "maxVramGib": 3.5}
    defaults = parse_model_source({"engine": "sd-cpp", "cliDefaults": raw}).cli_defaults
    assert (defaults.steps, defaults.sampling_method) == (0, None)


@pytest.mark.parametrize(
    ("name", "other"),
    [("m.gguf", "m.gguf"), ("m.gguf", "M.GGUF"), ("\u00e9.gguf", "e\u0301.gguf"), ("\u00e9.gguf", "E\u0301.gguf")],
)
def test_two_different_files_of_one_name_are_refused(name, other, refused):
    files = [{**FILE, "filename": name}, {**FILE, "url": "https://example.org/other.gguf", "filename": other}]
    assert refused("modelSource.files", files).field == "modelSource.files.1.filename"


def test_one_file_may_serve_two_roles():
    files = [FILE, {**FILE, "role": "vae"}]
    assert len(parse_model_source({"engine": "sd-cpp", "files": files}).files) == 2


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("CON.gguf", "reserved device name"),
        ("con .gguf", "reserved device name"),
        ("nul", "reserved device name"),
        ("COM¹", "reserved device name"),
        ("lpt9.tar.gz", "reserved device name"),
        ("conin$", "reserved device name"),
        ("a. ", "ends in a dot or space"),
        ("a.", "ends in a dot or space"),
        ("../x", "separator"),
        ("..\\x", "separator"),
        ("/etc/x", "separator"),
        ("C:x", "drive"),
        ("a:b", "drive"),
        ("a*b", "wildcard"),
        ("~/x", "separator"),
        ("~x", "tilde"),
        (".", "only dots"),
        ("..", "only dots"),
        ("", "is empty"),
        (" ", "only dots"),
        ("x" * 256, "longer than 255 bytes"),
        ("é" * 128, "longer than 255 bytes"),
        ("/\0" * 1_000_000, "longer than 255 bytes"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a\u202eb", "invisible"),
        ("a\u200bb", "invisible"),
        ("a\ud800b", "control"),
        ("-rf", "dash"),
        (".bashrc", "dot"),
        ("x.part", ".part"),
        ("x.PART", ".part"),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_a_name_that_is_no_plain_file_is_refused_with_the_rule(name, rule):
    with pytest.raises(ValueError, match=rule.replace(".", r"\.")):
        plain_file_name(name)


@pytest.mark.parametrize(
    "name", ["d.gguf", "model", "a b.safetensors", "x" * 255, "Größe.onnx", "console.gguf", "com10", "v1.2_q4-k.gguf"]
)
def test_an_ordinary_name_is_returned_as_it_is(name):
    assert plain_file_name(name) == name


@given(st.text(min_size=1, max_size=300))
def test_a_name_that_passes_stays_inside_its_folder(tmp_path_factory, name):
    try:
        plain_file_name(name)
    except ValueError:
        return
    folder = tmp_path_factory.getbasetemp()
    assert (folder / name).resolve().parent == folder.resolve()
