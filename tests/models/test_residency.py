"""Residency: who may load what, who waits, and who makes room."""

import asyncio

import pytest

from studio_worker.errors import EngineError, OutOfMemory
from studio_worker.models.residency import MAX_MEASURED, Lease, Need

MIB = 1024**2


# sharing and making room


async def test_what_fits_is_admitted_at_once_with_nothing_to_unload(one_slot):
    assert (await one_slot.job("a")).lease == Lease("a")


async def test_users_of_one_model_share_it_at_the_same_time(one_slot):
    await one_slot.job("a")
    assert (await one_slot.job("a")).lease == Lease("a", is_shared=True)
    assert one_slot.loads == ["a"]
    assert one_slot.residency.residents[0].users == 2


async def test_a_model_that_was_used_before_is_not_loaded_again(one_slot):
    await one_slot.used("a")
    assert (await one_slot.job("a")).lease.is_shared


async def test_models_that_fit_side_by_side_stay(open_house):
    house = open_house(cpu=30)
    for key in "abc":
        await house.used(key)
    assert house.keys == ["a", "b", "c"]


async def test_an_idle_model_makes_room(one_slot):
    await one_slot.used("a")
    assert (await one_slot.job("b")).lease == Lease("b", evict=("a",))
    assert one_slot.keys == ["b"]


async def test_the_one_that_goes_is_the_one_that_idles_longest_for_what_it_costs(open_house):
    house = open_house(cpu=20)
    await house.used("dear", reload_secs=100)
    house.clock.secs += 50
    await house.used("cheap", reload_secs=1)
    house.clock.secs += 10
    assert (await house.job("new")).lease.evict == ("cheap",)


async def test_a_model_in_use_is_waited_for(one_slot):
    first = await one_slot.job("a")
    second = await one_slot.job("b")
    assert not second.is_running
    assert one_slot.residency.waiting == ("b",)
    await first.end()
    assert second.lease == Lease("b", evict=("a",))
    assert one_slot.residency.waiting == ()


# places for one model


async def test_models_of_one_place_take_turns_there_however_much_memory_there_is(open_house):
    house = open_house(cpu=100)
    first = await house.job("a", place="p")
    second = await house.job("b", place="p")
    assert (await house.job("c", place="q")).is_running
    assert not second.is_running
    await first.end()
    assert second.lease == Lease("b", evict=("a",))


async def test_alternating_requests_of_one_engine_load_each_model_once(open_house):
    house = open_house(cpu=100)
    jobs = [await house.job(key, place="p") for key in "ABAACABC"]
    while running := [job for job in jobs if job.is_running]:
        await running[0].end()
    assert house.loads == ["A", "B", "C"]


async def test_a_measured_model_still_has_its_place(open_house):
    house = open_house(cpu=100)
    await house.job("a", place="p")
    house.residency.measured("a", 3 * MIB, 0)
    assert not (await house.job("b", place="p")).is_running


# what can never fit


async def test_what_can_never_fit_is_refused_at_once_and_nothing_is_unloaded(open_house):
    house = open_house(cpu=20)
    await house.used("a")
    job = await house.job("huge", 21)
    with pytest.raises(OutOfMemory):
        job.task.result()
    assert job.error == (
        "model 'huge' of engine 'toy' does not fit: needs 21.0 MiB of cpu, 10.0 MiB of 20.0 MiB free, "
        "held by 'a' (10.0 MiB, idle)"
    )
    assert house.keys == ["a"]
    assert house.unloaded == []


async def test_the_refused_do_not_hold_up_those_behind_them(one_slot):
    running = await one_slot.job("a")
    await one_slot.job("huge", 100)
    behind = await one_slot.job("b")
    await running.end()
    assert behind.is_running


async def test_a_device_that_is_not_there_is_named_with_those_that_are(open_house):
    job = await open_house(cpu=10, cuda_0=10).job("a", device="cuda:1")
    with pytest.raises(EngineError, match=r"run on cuda:1, which is not here; this worker has cpu, cuda:0"):
        job.task.result()


async def test_memory_is_counted_for_each_device(open_house):
    house = open_house(cpu=10, cuda_0=20)
    job = await house.job("a", 20, device="cuda:0", ram_bytes=11 * MIB)
    assert "needs 11.0 MiB of cpu, 10.0 MiB of 10.0 MiB free, held by nobody" in job.error
    assert "cuda:0" not in job.error


# the order


async def test_those_who_wait_are_served_in_the_order_in_which_they_came(one_slot):
    jobs = [await one_slot.job(key) for key in "abcd"]
    for job in jobs:
        await job.end()
    assert one_slot.granted == ["a", "b", "c", "d"]


async def test_alternating_requests_load_each_model_once(one_slot):
    jobs = [await one_slot.job(key) for key in "ABAACABC"]
    while running := [job for job in jobs if job.is_running]:
        await running[0].end()
    assert one_slot.loads == ["A", "B", "C"]
    assert one_slot.granted == ["A", "A", "A", "A", "B", "B", "C", "C"]


async def test_one_who_waits_is_overtaken_by_users_of_the_loaded_model(one_slot):
    await one_slot.job("a")
    waiting = await one_slot.job("b")
    one_slot.clock.secs += 59
    assert (await one_slot.job("a")).is_running
    assert not waiting.is_running


async def test_one_who_has_waited_out_his_patience_is_overtaken_no_more(one_slot):
    first = await one_slot.job("a")
    waiting = await one_slot.job("b")
    one_slot.clock.secs += 60
    late = await one_slot.job("a")
    assert not late.is_running
    await first.end()
    assert waiting.is_running
    await waiting.end()
    assert late.is_running


async def test_a_stream_of_one_model_does_not_starve_another(one_slot):
    running = await one_slot.job("a")
    waiting = await one_slot.job("b")
    came = one_slot.clock.secs
    while not waiting.is_running:
        one_slot.clock.secs += 7
        following = await one_slot.job("a")
        await running.end()
        if following.is_running:
            running = following
    assert one_slot.clock.secs - came <= 60 + 7


async def test_patience_holds_back_only_those_whose_model_is_in_the_way(open_house):
    house = open_house(cpu=100, cuda_0=10, cuda_1=10)
    await house.job("a", device="cuda:0")
    await house.job("c", device="cuda:1")
    await house.job("b", device="cuda:0")
    house.clock.secs += 60
    assert (await house.job("c", device="cuda:1")).is_running
    assert not (await house.job("a", device="cuda:0")).is_running


async def test_two_devices_serve_two_requests_at_once(open_house):
    house = open_house(cpu=100, cuda_0=10, cuda_1=10)
    await house.job("a", device="cuda:0", ram_bytes=10 * MIB)
    await house.job("b", device="cuda:0", ram_bytes=10 * MIB)
    assert (await house.job("c", device="cuda:1", ram_bytes=10 * MIB)).is_running


async def test_memory_that_one_waits_for_is_not_given_to_those_behind(open_house):
    house = open_house(cpu=30)
    first = await house.job("a", 20)
    large = await house.job("large", 30)
    small = await house.job("small", 10)
    assert not small.is_running
    await first.end()
    assert large.is_running
    await large.end()
    assert small.is_running


async def test_memory_that_nobody_in_front_waits_for_is_given_at_once(open_house):
    house = open_house(cpu=30, cuda_0=10)
    await house.job("a", device="cuda:0")
    await house.job("b", device="cuda:0", ram_bytes=20 * MIB)
    assert (await house.job("c", 10)).is_running
    assert not (await house.job("d", 10)).is_running


# the walk of one load


async def test_until_all_have_made_room_nobody_shares_the_model_that_replaces_them(one_slot):
    await one_slot.used("a")
    first = await one_slot.job("b", obeys=False)
    second = await one_slot.job("b")
    assert not second.is_running
    one_slot.residency.gone("a")
    await one_slot.settle()
    assert first.is_running
    assert second.lease == Lease("b", is_shared=True)


async def test_a_model_on_its_way_out_is_not_shared_but_loaded_again(one_slot):
    await one_slot.used("a")
    leaving = await one_slot.job("b", obeys=False)
    again = await one_slot.job("a")
    assert not again.is_running
    one_slot.residency.gone("a")
    await leaving.end()
    assert again.lease == Lease("a", evict=("b",))


async def test_a_lease_that_ends_before_room_was_made_has_loaded_nothing(one_slot):
    await one_slot.used("a")
    await (await one_slot.job("b", obeys=False)).end()
    assert one_slot.keys == ["a"]
    assert (await one_slot.job("a")).lease.is_shared


async def test_what_made_room_already_stays_away_when_the_lease_ends_early(open_house):
    house = open_house(cpu=20)
    await house.used("a")
    await house.used("b")
    job = await house.job("c", 20, obeys=False)
    house.residency.gone("a")
    await job.end()
    assert house.keys == ["b"]


async def test_room_that_is_being_made_is_not_given_away_twice(open_house):
    house = open_house(cpu=30)
    await house.used("large", 25)
    job = await house.job("small", 10, obeys=False)
    other = await house.job("other", 10)
    assert not other.is_running
    house.residency.gone("large")
    await house.settle()
    assert job.is_running
    assert other.is_running


# the end of a model


async def test_a_dead_child_frees_what_its_idle_model_held(one_slot):
    await one_slot.used("a")
    one_slot.residency.gone("a")
    assert one_slot.keys == []
    assert (await one_slot.job("b")).lease == Lease("b")


async def test_a_dead_childs_model_counts_until_its_jobs_have_ended(one_slot):
    job = await one_slot.job("a")
    one_slot.residency.gone("a")
    waiting = await one_slot.job("b")
    assert not waiting.is_running
    await job.end()
    assert waiting.lease == Lease("b")


async def test_a_model_that_is_loaded_again_after_its_child_died_stays(one_slot):
    job = await one_slot.job("a")
    one_slot.residency.gone("a")
    another = await one_slot.job("a")
    await job.end()
    await another.end()
    assert one_slot.keys == ["a"]


async def test_the_end_of_an_unknown_model_is_nothing(one_slot):
    one_slot.residency.gone("never heard of")
    assert one_slot.keys == []


async def test_a_job_that_fails_leaves_its_model_loaded(one_slot):
    with pytest.raises(RuntimeError):
        async with one_slot.residency.admit((await one_slot.job("a")).need):
            raise RuntimeError("the engine's own fault")
    assert one_slot.keys == ["a"]


# measured sizes


async def test_a_measured_size_replaces_the_estimate(open_house):
    house = open_house(cpu=30)
    await house.job("a", 25)
    waiting = await house.job("b", 10)
    house.residency.measured("a", 15 * MIB, 0)
    await house.settle()
    assert house.residency.waiting == ()
    assert house.residency.residents[0].ram_bytes == 15 * MIB
    assert not waiting.task.done()


async def test_a_measured_size_is_remembered_for_the_next_time(open_house):
    house = open_house(cpu=30)
    await house.used("a", 5)
    house.residency.measured("a", 25 * MIB, 0)
    house.residency.gone("a")
    await house.used("b", 10)
    assert (await house.job("a", 5)).lease.evict == ("b",)


async def test_what_was_loaded_once_is_not_refused_for_its_measured_size(one_slot):
    await one_slot.used("a")
    one_slot.residency.measured("a", 11 * MIB, 0)
    one_slot.residency.gone("a")
    assert (await one_slot.job("a")).is_running


async def test_a_measurement_of_what_is_not_loaded_is_nothing(one_slot):
    one_slot.residency.measured("a", 11 * MIB, 0)
    assert (await one_slot.job("a")).is_running


async def test_measured_sizes_of_long_ago_are_forgotten(open_house):
    house = open_house(cpu=10**6)
    for number in range(MAX_MEASURED + 10):
        await house.used(str(number), 0)
        house.residency.measured(str(number), 1, 0)
        house.residency.gone(str(number))
    assert len(house.residency._measured) == MAX_MEASURED


async def test_what_a_measured_size_has_overdrawn_is_surplus(open_house):
    house = open_house(cpu=30)
    await house.used("old", 10)
    house.clock.secs += 1
    await house.used("new", 10)
    assert house.residency.surplus() == ()
    house.residency.measured("new", 25 * MIB, 0)
    assert house.residency.surplus() == ("old",)


# the budget


async def test_a_larger_budget_serves_those_who_wait(one_slot):
    await one_slot.job("a")
    waiting = await one_slot.job("b")
    one_slot.budget["cpu"] = 20 * MIB
    one_slot.residency.refresh()
    await one_slot.settle()
    assert one_slot.residency.waiting == ()
    assert not waiting.task.done()


async def test_a_device_that_disappears_takes_its_models_and_only_its_requests_along(open_house):
    house = open_house(cpu=100, cuda_0=10, cuda_1=10)
    await house.used("a", device="cuda:0")
    await house.job("b", device="cuda:1")
    lost = await house.job("c", device="cuda:1")
    del house.budget["cuda:1"]
    house.residency.refresh()
    await asyncio.wait([lost.task])
    assert "cuda:1, which is not here; this worker has cpu, cuda:0" in lost.error
    assert (await house.job("a", device="cuda:0")).is_running


async def test_the_models_of_a_lost_device_are_surplus(open_house):
    house = open_house(cpu=100, cuda_0=10)
    await house.used("a", device="cuda:0")
    await house.used("b")
    del house.budget["cuda:0"]
    assert house.residency.surplus() == ("a",)


# idle models


async def test_a_retired_model_is_kept_from_everybody_until_it_is_gone(one_slot):
    await one_slot.used("a")
    with one_slot.residency.retire("a") as may:
        assert may
        job = await one_slot.job("a")
        assert not job.is_running
        one_slot.residency.gone("a")
    await one_slot.settle()
    assert one_slot.residency.waiting == ()
    assert one_slot.keys == ["a"]


async def test_a_retired_model_that_could_not_be_unloaded_stays(one_slot):
    await one_slot.used("a")
    with one_slot.residency.retire("a"):
        waiting = await one_slot.job("a")
    await one_slot.settle()
    assert waiting.lease == Lease("a", is_shared=True)


async def test_only_an_idle_model_can_be_retired(open_house):
    house = open_house(cpu=20)
    await house.job("used")
    await house.used("idle")
    with house.residency.retire("used") as used, house.residency.retire("unknown") as unknown:
        assert not used
        assert not unknown
    with house.residency.retire("idle") as first, house.residency.retire("idle") as second:
        assert first
        assert not second


async def test_residents_tell_what_people_want_to_know(open_house):
    house = open_house(cpu=100, cuda_0=100)
    await house.used("a", 30, device="cuda:0", ram_bytes=5 * MIB)
    house.clock.secs += 12
    (seen,) = house.residency.residents
    assert (seen.key, seen.engine, seen.device, seen.users, seen.idle_secs) == ("a", "toy", "cuda:0", 0, 12)
    assert (seen.ram_bytes, seen.vram_bytes) == (5 * MIB, 30 * MIB)


# cancellation


async def test_a_cancelled_wait_leaves_no_trace(one_slot):
    running = await one_slot.job("a")
    await (await one_slot.job("b")).cancel()
    assert one_slot.residency.waiting == ()
    assert one_slot.keys == ["a"]
    await running.end()
    assert (await one_slot.job("a")).lease.is_shared


async def test_those_behind_a_cancelled_wait_are_served(open_house):
    house = open_house(cpu=30)
    await house.job("a", 20)
    large = await house.job("large", 30)
    small = await house.job("small", 10)
    await large.cancel()
    assert small.is_running


async def test_a_wait_that_is_cancelled_in_the_moment_of_its_turn_leaves_no_trace(one_slot):
    await one_slot.used("a")
    holding = one_slot.residency.admit(Need(key="a", engine="toy"))
    await holding.__aenter__()
    waiting = await one_slot.job("b")
    await holding.__aexit__(None, None, None)
    assert one_slot.residency.waiting == ()
    await waiting.cancel()
    assert (waiting.lease, one_slot.keys) == (None, ["a"])
    assert (await one_slot.job("a")).lease.is_shared


async def test_a_lease_that_nobody_saw_leaves_no_model_behind(one_slot):
    holding = one_slot.residency.admit(Need(key="a", engine="toy", ram_bytes=10 * MIB))
    await holding.__aenter__()
    waiting = await one_slot.job("b")
    one_slot.residency.gone("a")
    await holding.__aexit__(None, None, None)
    assert one_slot.keys == ["b"]
    await waiting.cancel()
    assert one_slot.keys == []


async def test_a_lease_that_nobody_saw_goes_on_for_those_who_share_it(one_slot):
    holding = one_slot.residency.admit(Need(key="a", engine="toy", ram_bytes=10 * MIB))
    await holding.__aenter__()
    first, second = await one_slot.job("b"), await one_slot.job("b")
    one_slot.residency.gone("a")
    await holding.__aexit__(None, None, None)
    await first.cancel()
    assert second.is_running
    assert one_slot.keys == ["b"]


async def test_a_cancelled_job_gives_its_lease_back(one_slot):
    running = await one_slot.job("a")
    waiting = await one_slot.job("b")
    await running.cancel()
    assert waiting.is_running


async def test_a_pinned_model_is_never_unloaded_and_a_refusal_says_who_holds_the_memory(open_house):
    house = open_house(cpu=30)
    house.pinned = ("org/pinned",)
    await house.used("org/pinned#1", 20)
    await house.used("org/free#1", 10)
    assert (await house.job("org/next#1", 10)).is_running
    assert house.unloaded == ["org/free#1"]
    refused = await house.job("org/large#1", 11)
    assert "needs 11.0 MiB of cpu" in refused.error
    assert "'org/pinned#1' (20.0 MiB, idle, pinned)" in refused.error
    assert house.unloaded == ["org/free#1"]


async def test_a_pinned_model_that_is_in_use_is_not_waited_for_by_what_does_not_fit_beside_it(open_house):
    house = open_house(cpu=30)
    house.pinned = ("org/pinned",)
    await house.job("org/pinned#1", 20)
    assert "in use, pinned" in (await house.job("org/large#1", 11)).error


async def test_a_pinned_model_keeps_the_process_that_holds_one_model_at_a_time(open_house):
    house = open_house(cpu=30)
    house.pinned = ("org/pinned",)
    await house.used("org/pinned#1", 10, place="llama's process")
    refused = await house.job("org/next#1", 10, place="llama's process")
    assert "its engine's process holds one model at a time, and keeps 'org/pinned#1' (idle, pinned)" in refused.error
    assert (await house.job("org/other#1", 10, place="another process")).is_running


async def test_a_model_may_be_pinned_and_let_go_while_it_is_loaded(one_slot):
    await one_slot.used("org/a#1")
    one_slot.pinned = ("org/a",)
    assert "pinned" in (await one_slot.job("org/b#1")).error
    one_slot.pinned = ()
    assert (await one_slot.job("org/b#1")).is_running


async def test_one_who_waits_for_a_model_that_is_pinned_meanwhile_is_refused_when_it_is_free(one_slot):
    first = await one_slot.job("org/a#1")
    waiting = await one_slot.job("org/b#1")
    one_slot.pinned = ("org/a",)
    await first.end()
    assert "pinned" in waiting.error


async def test_a_pinned_model_is_no_surplus(open_house):
    house = open_house(cpu=30)
    house.pinned = ("org/a",)
    await house.used("org/a#1", 20)
    await house.used("org/b#1", 10)
    house.budget["cpu"] = 10 * 2**20
    assert house.residency.surplus() == ("org/b#1",)
