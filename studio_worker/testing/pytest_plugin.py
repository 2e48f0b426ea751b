"""What pytest gets from an installed studio-worker: fixtures that load the kit when a test asks for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from studio_worker.testing.clocks import HandClock


@pytest.fixture
def hand_clock() -> HandClock:
    """A clock that stands still until the test moves it."""
    from studio_worker.testing.clocks import HandClock

    return HandClock()


async def _studio() -> AsyncIterator[Any]:
    """A studio on a port of its own that follows the protocol; ``api_base_url=studio.url`` brings a worker to it."""
    from studio_worker.testing.scripted_studio import ScriptedStudio

    async with ScriptedStudio() as studio:
        yield studio


try:
    import pytest_asyncio
except ModuleNotFoundError:
    # Without it no test can await, and none asks for a studio.
    pass
else:
    studio = pytest_asyncio.fixture(_studio)
