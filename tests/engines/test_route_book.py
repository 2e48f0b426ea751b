"""What rests is withdrawn from the advert alone, until it may work again."""

import pytest

from studio_worker.engines.description import EngineDescription
from studio_worker.engines.quarantine import Quarantine
from studio_worker.engines.restarts import Restarts
from studio_worker.engines.route_book import RouteBook
from studio_worker.testing import HandClock
from studio_worker.wire.kinds import TaskKind

TOY = EngineDescription(name="toy", sources=("toy",), models={TaskKind.LLM: ("toy:*",)})
OTHER = EngineDescription(name="other", plugin="other", sources=("other",), models={TaskKind.LLM: ("other:*",)})


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def book(clock):
    found = RouteBook(Quarantine(clock), clock)
    found.draw([TOY, OTHER], {})
    return found


def dead(clock):
    restarts = Restarts(clock)
    restarts.died("its library is broken")
    return restarts


def test_an_engine_that_died_at_its_start_is_served_and_not_advertised_until_it_is_started_again(book, clock):
    assert book.died(TOY, None, "its library is broken", [dead(clock)])
    assert book.advertised.supported_models == ("other:*",)
    assert set(book.served.supported_models) == {"toy:*", "other:*"}
    assert book.rest == (
        "the process of engine 'toy' died once at its start: its library is broken; it is started again in 1 s"
    )
    assert book.rest_secs == 1.0
    clock.secs += 1
    assert book.rest is None
    assert set(book.advertised.supported_models) == {"toy:*", "other:*"}
    assert book.rest_secs == 0.0


def test_what_rests_when_the_engines_are_drawn_anew_stays_away(book, clock):
    book.died(TOY, None, "x", [dead(clock)])
    book.draw([TOY, OTHER], {})
    assert book.advertised.supported_models == ("other:*",)


def test_a_death_at_work_is_no_reason_to_rest(book, clock):
    assert not book.died(TOY, "m", "out of memory", [Restarts(clock)])
    assert book.rest is None


def test_a_third_death_on_one_model_is_told_to_whoever_draws(book, clock):
    told = [book.died(TOY, "m", "out of memory", [Restarts(clock)]) for _ in range(3)]
    assert told == [False, False, True]


def test_an_engine_of_which_one_device_works_does_not_rest(book, clock):
    assert not book.died(TOY, None, "its GPU is gone", [dead(clock), Restarts(clock)])


def test_an_engine_that_is_not_available_rests_from_nothing(book, clock):
    book.died(TOY, None, "x", [dead(clock)])
    book.draw([EngineDescription(name="toy", status="disabled"), OTHER], {})
    assert book.rest is None
