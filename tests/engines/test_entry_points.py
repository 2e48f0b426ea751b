"""Installed plugins by their entry points, and the names of their packages."""

import pytest

from studio_worker.engines.entry_points import PluginRef, canonical


@pytest.mark.parametrize("name", ["studio-worker", "Studio_Worker", "studio.worker", "STUDIO-_.worker"])
def test_names_that_indexes_take_for_the_same_are_the_same(name):
    assert canonical(name) == "studio-worker"
    assert PluginRef("synthetic", "studio_worker.engines.synthetic", name, "1.0").is_builtin
