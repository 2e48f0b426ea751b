"""The arithmetic of memory: what models count as, what is short, who makes room."""

import math

import pytest

from studio_worker.models.memory_ledger import Entry, MemoryLedger, Need, gib, memory_of

BUDGET = {"cpu": 100, "cuda:0": 100}


def entry(key: str, size: int = 10, *, last_used: float = 0.0, reload_secs: float = 1.0, **fields) -> Entry:
    need = Need(key=key, engine="toy", ram_bytes=size, reload_secs=reload_secs)
    return Entry(need, fields.pop("memory", need.memory), last_used, **fields)


@pytest.fixture
def hold():
    """A ledger of these entries."""

    return lambda *entries: ledger_of(MemoryLedger(), entries)


@pytest.fixture
def hold_pinned():
    """The same, where the model org/a is pinned."""
    return lambda *entries: ledger_of(MemoryLedger(lambda: ("org/a",)), entries)


def ledger_of(ledger: MemoryLedger, entries: tuple[Entry, ...]) -> MemoryLedger:
    ledger.entries = {entry.need.key: entry for entry in entries}
    return ledger


def test_a_device_takes_its_own_memory_and_the_machines():
    assert memory_of("cuda:0", 3, 5) == {"cpu": 3, "cuda:0": 5}


def test_on_the_cpu_all_memory_is_ram():
    assert memory_of("cpu", 3, 5) == {"cpu": 8}


def test_a_device_of_which_nothing_is_taken_is_left_out():
    assert memory_of("cuda:0", 0, 5) == {"cuda:0": 5}
    assert memory_of("cuda:0", 0, 0) == {}


@pytest.mark.parametrize(
    "wrong", [{"ram_bytes": -1}, {"vram_bytes": -1}, {"reload_secs": -1}, {"reload_secs": math.nan}]
)
def test_a_need_that_is_no_amount_is_refused(wrong):
    with pytest.raises(ValueError, match="'m'"):
        Need(key="m", engine="toy", **wrong)


def test_what_is_free_is_the_budget_less_what_is_loaded(hold):
    assert hold(entry("a", 30), entry("b", 20)).free(BUDGET) == {"cpu": 50, "cuda:0": 100}


def test_a_device_that_is_not_there_any_more_is_overdrawn_by_what_is_on_it(hold):
    ledger = hold(entry("a", memory={"cuda:1": 7}))
    assert ledger.free(BUDGET)["cuda:1"] == -7


def test_while_it_makes_room_a_model_counts_as_the_larger_of_both(hold):
    small, large = entry("small", 10, is_leaving=True), entry("large", 40, is_leaving=True)
    assert hold(small, entry("new", 30, users=1, making_room={"small": small})).free(BUDGET)["cpu"] == 70
    assert hold(large, entry("new", 30, users=1, making_room={"large": large})).free(BUDGET)["cpu"] == 60


def test_idle_models_are_no_hindrance_and_used_ones_are(hold):
    ledger = hold(entry("a", 60), entry("b", 30))
    assert ledger.short({"cpu": 100}, BUDGET, {}) == set()
    ledger.entries["b"].users = 1
    assert ledger.short({"cpu": 71}, BUDGET, {}) == {"cpu"}
    assert ledger.short({"cpu": 70}, BUDGET, {}) == set()


def test_what_is_kept_for_somebody_else_is_not_to_be_had(hold):
    assert hold().short({"cpu": 60, "cuda:0": 60}, BUDGET, {"cpu": 41, "cuda:0": 40}) == {"cpu"}


def test_only_a_need_above_the_whole_budget_is_impossible(hold):
    ledger = hold(entry("a", 60, users=1), entry("b", 30))
    assert ledger.never({"cpu": 100}, BUDGET) == set()
    assert ledger.never({"cpu": 101}, BUDGET) == {"cpu"}
    assert ledger.never({"cuda:0": 101}, BUDGET) == {"cuda:0"}


class TestVictims:
    def test_are_none_where_there_is_room(self, hold):
        assert hold(entry("a", 50)).victims({"cpu": 50}, BUDGET, {}, now=10) == []

    def test_are_the_longest_idle_where_they_cost_the_same(self, hold):
        ledger = hold(entry("new", 50, last_used=8), entry("old", 50, last_used=2))
        assert ledger.victims({"cpu": 10}, BUDGET, {}, now=10) == ["old"]

    def test_are_the_cheapest_to_load_again_where_they_idle_the_same(self, hold):
        ledger = hold(entry("dear", 50, reload_secs=20), entry("cheap", 50, reload_secs=2))
        assert ledger.victims({"cpu": 10}, BUDGET, {}, now=10) == ["cheap"]

    def test_weigh_idle_time_against_the_cost_to_load_again(self, hold):
        ledger = hold(entry("dear", 50, last_used=0, reload_secs=30), entry("cheap", 50, last_used=6, reload_secs=1))
        assert ledger.victims({"cpu": 10}, BUDGET, {}, now=10) == ["cheap"]
        assert ledger.victims({"cpu": 10}, BUDGET, {}, now=6) == ["dear"]

    def test_of_a_cost_of_nothing_are_not_always_the_first(self, hold):
        ledger = hold(entry("free", 50, last_used=9.99, reload_secs=0), entry("old", 50, last_used=0, reload_secs=1))
        assert ledger.victims({"cpu": 10}, BUDGET, {}, now=10) == ["old"]

    def test_are_as_many_as_it_takes(self, hold):
        ledger = hold(*(entry(name, 30, last_used=at) for at, name in enumerate("abc")))
        assert ledger.victims({"cpu": 60}, BUDGET, {}, now=10) == ["a", "b"]

    def test_leave_out_one_that_turned_out_not_to_be_needed(self, hold):
        ledger = hold(entry("small", 10, last_used=0), entry("large", 90, last_used=5))
        assert ledger.victims({"cpu": 80}, BUDGET, {}, now=10) == ["large"]

    def test_hold_memory_that_is_lacking(self, hold):
        ledger = hold(entry("other", memory={"cuda:0": 90}, last_used=0), entry("ram", 90, last_used=5))
        assert ledger.victims({"cpu": 20}, BUDGET, {}, now=10) == ["ram"]

    def test_are_never_in_use_or_on_their_way_out(self, hold):
        ledger = hold(entry("used", 30, users=1), entry("leaving", 30, is_leaving=True))
        assert ledger.victims({"cpu": 90}, BUDGET, {}, now=10) == []

    def test_leave_alone_what_is_kept_for_somebody_else(self, hold):
        ledger = hold(entry("a", 30))
        assert ledger.victims({"cpu": 30}, BUDGET, {"cpu": 50}, now=10) == ["a"]
        assert ledger.victims({"cpu": 30}, BUDGET, {"cpu": 40}, now=10) == []


def test_a_refusal_names_what_is_needed_what_is_free_and_who_holds_the_rest(hold):
    mib = 1024**2
    ledger = hold(entry("used", 200 * mib, users=1), entry("idle", 150 * mib))
    need = Need(key="big\n", engine="toy", ram_bytes=2048 * mib)
    assert ledger.refusal(need, need.memory, {"cpu": 400 * mib}, ["cpu"]) == (
        "model 'big\\n' of engine 'toy' does not fit: needs 2.0 GiB of cpu, 50.0 MiB of 400.0 MiB free, held by "
        "'used' (200.0 MiB, in use), 'idle' (150.0 MiB, idle)"
    )


def test_sizes_are_told_in_a_unit_that_fits():
    assert (gib(0), gib(50 * 1024**2), gib(3 * 1024**3 // 2)) == ("0.0 MiB", "50.0 MiB", "1.5 GiB")


class TestPinned:
    def test_models_make_room_for_nobody(self, hold_pinned):
        ledger = hold_pinned(entry("org/a#1", 50, last_used=0), entry("org/b#1", 50, last_used=9))
        assert ledger.victims({"cpu": 10}, BUDGET, {}, now=10) == ["org/b#1"]
        assert ledger.short({"cpu": 50}, BUDGET, {}) == set()
        assert ledger.short({"cpu": 51}, BUDGET, {}) == {"cpu"}

    def test_models_make_it_impossible_what_does_not_fit_beside_them(self, hold_pinned):
        ledger = hold_pinned(entry("org/a#1", 50), entry("org/b#1", 50, users=1))
        assert ledger.never({"cpu": 50}, BUDGET) == set()
        assert ledger.never({"cpu": 51}, BUDGET) == {"cpu"}

    def test_models_that_are_going_already_are_no_hindrance(self, hold_pinned):
        for state in ({"is_leaving": True}, {"is_gone": True}):
            ledger = hold_pinned(entry("org/a#1", 50, **state))
            assert ledger.never({"cpu": 100}, BUDGET) == set()

    def test_models_make_room_for_another_load_of_the_same_one(self, hold_pinned):
        ledger = hold_pinned(entry("org/a#1", 90))
        assert ledger.victims({"cpu": 90}, BUDGET, {}, now=10, model="org/a") == ["org/a#1"]
        assert ledger.short({"cpu": 90}, BUDGET, {}, model="org/a") == set()
        assert ledger.never({"cpu": 90}, BUDGET, model="org/a") == set()


@pytest.mark.parametrize(("key", "model"), [("org/a#0f", "org/a"), ("a#b#0f", "a#b"), ("a", "a")])
def test_a_need_knows_the_model_of_its_key(key, model):
    assert Need(key=key, engine="toy").model == model
