"""Every parser that a stranger reaches, by name: for `make fuzz`, and for the tests."""

from __future__ import annotations

from collections.abc import Mapping

from tests.fuzz import address_targets, media_targets, message_targets, model_targets, setting_targets
from tests.fuzz.target import Target

TARGETS: Mapping[str, Target] = {
    found.name: found
    for module in (message_targets, setting_targets, address_targets, media_targets, model_targets)
    for found in vars(module).values()
    if isinstance(found, Target)
}
