"""A list of strangers is refused at the first value that is wrong in it: each one told of takes time and memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from studio_worker.wire import capabilities, frames, model_source, results, tasks
from studio_worker.wire.base import WireModel

MODULES = (capabilities, frames, model_source, results, tasks)


def lists() -> Iterator[tuple[type[WireModel], str]]:
    """Every field of a model of the wire that is a list."""
    for module in MODULES:
        for model in vars(module).values():
            if isinstance(model, type) and issubclass(model, WireModel) and model.__module__ == module.__name__:
                for name, field in model.model_fields.items():
                    if str(field.annotation).startswith("tuple"):
                        yield model, field.alias or name


def places(model: type[WireModel], raw: dict[str, Any], field: str) -> list[tuple[int | str, ...]]:
    """Where in a field something was found to be wrong."""
    with pytest.raises(ValidationError) as caught:
        model.from_wire(raw)
    return [error["loc"][1:] for error in caught.value.errors() if error["loc"][0] == field]


@pytest.mark.parametrize(("model", "field"), [*lists()], ids=str)
def test_a_list_is_refused_at_its_first_wrong_value(model, field):
    assert [place for place in places(model, {field: (5,) * 50}, field) if place] == [(0,)]


@pytest.mark.parametrize("field", ["supportedModelsPerKind", "sources"])
def test_a_table_of_a_thousand_kinds_is_read_and_a_longer_one_is_not_looked_into(field):
    kinds = {f"kind-{index}": ["a"] for index in range(1_000)}
    assert capabilities.Capabilities.from_wire({field: kinds}).to_wire()[field] == kinds
    assert places(capabilities.Capabilities, {field: {**kinds, "one more": 5, "another": 5}}, field) == [()]
