from __future__ import annotations

import threading
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from studio_worker_onnx import OnnxEngine
from studio_worker_onnx.model import failure

from studio_worker import Cancelled, EngineError, OutOfMemory


def test_cancelling_ends_a_graph_that_is_running(
    engine: OnnxEngine, job: Any, noise: Any, marked: Any, endless_graph: Any, files_of: Any, tmp_path: Any
) -> None:
    model = engine.load(files_of(endless_graph(tmp_path / "m.onnx")))
    begun = threading.Event()

    def watch(step: int, total: int, stage: str, preview: Any) -> None:
        if stage == "inpaint":
            begun.set()

    made = job(noise(64, 64), marked(64, 64, 9, 9, 20, 20), model=model, on_progress=watch)
    canceller = threading.Thread(target=lambda: begun.wait() and made._cancel.set())
    canceller.start()
    with pytest.raises(Cancelled):
        engine.run(made)
    canceller.join()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("onnx-cancel")]


def test_a_model_goes_on_after_a_cancelled_run(
    engine: OnnxEngine, job: Any, noise: Any, marked: Any, loaded: Any
) -> None:
    made = job(noise(64, 64), marked(64, 64, 9, 9, 20, 20))
    made._cancel.set()
    with pytest.raises(Cancelled):
        engine.run(made)
    assert engine.run(job(noise(64, 64), marked(64, 64, 9, 9, 20, 20))).ext == "png"


@pytest.mark.parametrize("stage", ["crop", "paste"])
def test_a_job_cancelled_before_or_after_the_run_ends_too(
    engine: OnnxEngine, job: Any, noise: Any, marked: Any, stage: str
) -> None:
    def stop(step: int, total: int, at: str, preview: Any) -> None:
        if at == stage:
            made._cancel.set()

    made = job(noise(64, 64), marked(64, 64, 9, 9, 20, 20), on_progress=stop)
    with pytest.raises(Cancelled):
        engine.run(made)
    assert not list(made.work_dir.glob("picture.*"))


def test_a_graph_that_fails_on_the_cpu_is_not_tried_again(
    engine: OnnxEngine, job: Any, noise: Any, marked: Any, save_graph: Any, files_of: Any, tmp_path: Any
) -> None:
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n, "h", "w"]) for name, n in (("i", 3), ("m", 1))
    ]
    shape = numpy_helper.from_array(np.array([1, 3, 7, 7]), "shape")
    nodes = [helper.make_node("Add", ["i", "m"], ["s"]), helper.make_node("Reshape", ["s", "shape"], ["o"])]
    output = helper.make_tensor_value_info("o", TensorProto.FLOAT, [1, 3, 7, 7])
    path = save_graph(helper.make_graph(nodes, "g", ports, [output], [shape]), tmp_path / "m.onnx")
    with pytest.raises(EngineError, match=r"m\.onnx could not be run: .*Reshape") as error:
        engine.run(job(noise(64, 64), marked(64, 64, 9, 9, 20, 20), model=engine.load(files_of(path))))
    assert not error.value.retryable


def test_a_graph_that_breaks_its_own_rules_is_refused_when_it_is_loaded(
    engine: OnnxEngine, save_graph: Any, files_of: Any, tmp_path: Any
) -> None:
    port = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    node = helper.make_node("NoSuchOperator", ["x"], ["y"])
    path = save_graph(helper.make_graph([node], "g", [port], []), tmp_path / "m.onnx")
    with pytest.raises(EngineError, match=r"m\.onnx could not be loaded: .*NoSuchOperator") as error:
        engine.load(files_of(path))
    assert not error.value.retryable


def test_the_library_is_never_asked_about_a_file_that_is_refused(
    engine: OnnxEngine, files_of: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *given, **more: asked.append(given))
    tensor = TensorProto(name="w", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../etc/passwd")
    port = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [port], [], [tensor])
    (tmp_path / "m.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(EngineError, match="in another file"):
        engine.load(files_of(tmp_path / "m.onnx"))
    assert asked == []


def test_the_name_of_a_file_does_not_decide_how_it_is_read(
    engine: OnnxEngine, make_graph: Any, files_of: Any, tmp_path: Any
) -> None:
    named = tmp_path / "lama.ort"
    named.write_bytes(make_graph(size=("h", "w")).read_bytes())
    assert engine.load(files_of(named)).layout.width is None


def test_the_provider_is_told_by_our_name(loaded: Any) -> None:
    assert loaded.provider == "cpu"


def test_of_two_numbers_of_threads_the_smaller_counts(make_graph: Any, files_of: Any, monkeypatch: Any) -> None:
    seen: list[int] = []
    true_session = onnxruntime.InferenceSession

    def session(path: str, options: Any, **more: Any) -> Any:
        seen.append(options.intra_op_num_threads)
        return true_session(path, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    path = make_graph(size=(64, 64))
    OnnxEngine(threads=3).load(files_of(path))
    unset = files_of(path)
    object.__setattr__(unset.options, "threads", None)
    OnnxEngine(threads=3).load(unset)
    OnnxEngine().load(unset)
    object.__setattr__(unset.options, "threads", 4)
    OnnxEngine(threads=3).load(unset)
    assert seen == [1, 3, 0, 3]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), OutOfMemory),
        (RuntimeError("Failed to allocate memory for requested buffer of size 9"), OutOfMemory),
        (RuntimeError("CUDA error: out of memory"), OutOfMemory),
        (RuntimeError("std::bad_alloc"), OutOfMemory),
        (RuntimeError("Non-zero status code"), EngineError),
    ],
)
def test_running_out_of_memory_is_told_from_other_failures(error: Exception, kind: type[EngineError]) -> None:
    found = failure(error, "m.onnx could not be run", retryable=False)
    assert type(found) is kind
    assert found.retryable is (kind is OutOfMemory)
    assert str(found).startswith("m.onnx could not be run: ")
