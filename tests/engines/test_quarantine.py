"""Pairs of engine and model that keep dying are left alone for a while."""

from dataclasses import replace

import pytest

from studio_worker.engines.description import EngineDescription
from studio_worker.engines.quarantine import MAX_PAIRS, MAX_PAUSE_SECS, PAUSE_SECS, Quarantine, Quarantined
from studio_worker.engines.router import Routes
from studio_worker.errors import NoEngine
from studio_worker.testing.clocks import HandClock
from studio_worker.wire.kinds import TaskKind

IMAGE, LLM = TaskKind.IMAGE, TaskKind.LLM
TOY = EngineDescription(name="toy")
OTHER = EngineDescription(name="other", plugin="other")


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def quarantine(clock):
    return Quarantine(clock)


def kill(quarantine, times=3, toy=TOY, model="m"):
    return [quarantine.died(toy, model) for _ in range(times)]


def engine(**models):
    kinds = {TaskKind(kind): ids for kind, ids in models.items()}
    return EngineDescription(name="toy", sources=("toy",), models=kinds)


def test_the_third_death_within_ten_minutes_puts_a_pair_in_quarantine(quarantine):
    assert kill(quarantine) == [False, False, True]


def test_deaths_of_longer_ago_do_not_count(quarantine, clock):
    kill(quarantine, 2)
    clock.secs += 600
    assert kill(quarantine, 2) == [False, False]


def test_the_refusal_names_engine_model_deaths_and_the_next_try(quarantine, clock):
    kill(quarantine, model="m\n")
    clock.secs += 100
    assert quarantine.refusal(TOY, "m\n") == ("engine 'toy' died 3 times on model 'm\\n'; it is tried again in 200 s")


def test_other_models_and_other_engines_go_on(quarantine):
    kill(quarantine)
    assert quarantine.refusal(TOY, "other") is None
    assert quarantine.refusal(OTHER, "m") is None


def test_it_is_tried_again_after_the_pause(quarantine, clock):
    kill(quarantine)
    assert quarantine.next_release() == clock.secs + PAUSE_SECS
    clock.secs += PAUSE_SECS
    assert quarantine.refusal(TOY, "m") is None
    assert quarantine.next_release() is None


def test_one_more_death_after_the_pause_doubles_it_up_to_a_bound(quarantine, clock):
    kill(quarantine)
    pauses = []
    for _ in range(10):
        clock.secs = quarantine.next_release()
        assert kill(quarantine, 1) == [True]
        pauses.append(quarantine.next_release() - clock.secs)
    assert pauses[:2] == [2 * PAUSE_SECS, 4 * PAUSE_SECS]
    assert pauses[-1] == MAX_PAUSE_SECS


def test_a_death_during_the_pause_does_not_make_it_longer(quarantine, clock):
    kill(quarantine)
    release = quarantine.next_release()
    clock.secs += 1
    kill(quarantine, 2)
    assert quarantine.next_release() == release


def test_a_success_clears_the_past(quarantine, clock):
    kill(quarantine)
    clock.secs += PAUSE_SECS
    quarantine.succeeded(TOY, "m")
    assert kill(quarantine, 2) == [False, False]


def test_successes_between_deaths_do_not_undo_them(quarantine, clock):
    found = []
    for _ in range(3):
        found += kill(quarantine, 1)
        quarantine.succeeded(TOY, "m")
        clock.secs += 60
    assert found == [False, False, True]


def test_deaths_of_long_ago_are_not_told(quarantine, clock):
    kill(quarantine, 2)
    clock.secs += 601
    kill(quarantine, 3)
    assert "died 3 times" in quarantine.refusal(TOY, "m")


def test_a_quarantined_model_is_withdrawn_and_the_others_stay(quarantine):
    kill(quarantine)
    (left,) = quarantine.advertised([engine(image=("m", "n"))])
    assert (left.status, left.models[IMAGE]) == ("available", ("n",))


def test_a_label_stays_and_so_does_its_route(quarantine):
    kill(quarantine)
    toy = engine(image=("toy:*",))
    assert quarantine.advertised([toy]) == (toy,)
    assert quarantine.refusal(TOY, "m")


def test_a_kind_of_which_no_model_is_left_is_still_served_by_source(quarantine):
    kill(quarantine)
    routes = Routes.build(quarantine.advertised([engine(image=("m",), llm=("n",))]))
    assert routes.supported_models == ("n",)
    assert routes.pick(IMAGE, "another", "toy").engine.name == "toy"


def test_an_engine_of_which_no_listed_model_is_left_still_serves_its_source(quarantine):
    kill(quarantine)
    routes = Routes.build(quarantine.advertised([engine(image=("m",))]))
    assert (routes.task_kinds, routes.supported_models) == ((IMAGE,), ())
    assert routes.sources_per_kind == {IMAGE: ("toy",)}
    assert routes.pick(IMAGE, "another", "toy").engine.name == "toy"


def test_what_is_in_quarantine_is_listed_until_it_is_tried_again(quarantine, clock):
    quarantine.died(OTHER, "n")
    kill(quarantine)
    assert quarantine.pairs == (Quarantined("toy", "m", 3, PAUSE_SECS),)
    clock.secs += PAUSE_SECS
    assert quarantine.pairs == ()


def test_an_engine_without_a_source_of_which_nothing_is_left_is_unavailable_with_the_reason(quarantine, clock):
    kill(quarantine)
    toy = replace(engine(image=("m",)), sources=())
    (left,) = quarantine.advertised([toy])
    assert left.status == "unavailable"
    assert "died 3 times on model 'm'" in left.reason
    with pytest.raises(NoEngine):
        Routes.build([left]).pick(IMAGE, "m", None)
    clock.secs += PAUSE_SECS
    assert quarantine.advertised([toy]) == (toy,)


def test_an_engine_that_cannot_run_anyway_is_left_as_it_is(quarantine):
    kill(quarantine)
    broken = EngineDescription(name="toy", models={IMAGE: ("m",)}, status="broken", reason="it is")
    assert quarantine.advertised([broken]) == (broken,)


def test_what_is_remembered_is_bounded_and_the_quarantined_are_forgotten_last(quarantine):
    kill(quarantine)
    for number in range(MAX_PAIRS + 50):
        quarantine.died(TOY, str(number))
    assert len(quarantine._records) == MAX_PAIRS
    assert quarantine.refusal(TOY, "m")


def test_the_same_engine_of_another_environment_goes_on(quarantine):
    old, new = (replace(TOY, environment=name, models={IMAGE: ("m",)}) for name in ("old", "new"))
    kill(quarantine, toy=old)
    assert quarantine.refusal(old, "m")
    assert quarantine.refusal(new, "m") is None
    assert [engine.status for engine in quarantine.advertised([old, new])] == ["unavailable", "available"]
