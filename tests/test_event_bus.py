import asyncio

from studio_worker.event_bus import MAX_WAITING, EventBus
from studio_worker.events import Event, JobAccepted, JobDelivered, JobProgress


async def collected(bus: EventBus, reader) -> list[Event]:
    bus.close()
    return [event async for event in reader]


async def test_a_reader_sees_what_happens_from_its_own_start_in_order():
    bus = EventBus()
    bus.emit(JobAccepted("before"))
    reader = bus.events()
    bus.emit(JobAccepted("a"))
    bus.emit(JobDelivered("a", 1.0))
    assert await collected(bus, reader) == [JobAccepted("a"), JobDelivered("a", 1.0)]


async def test_two_readers_see_the_same_events():
    bus = EventBus()
    first, second = bus.events(), bus.events()
    bus.emit(JobAccepted("a"))
    assert await collected(bus, first) == await collected(bus, second) == [JobAccepted("a")]


async def test_waiting_progress_of_one_job_is_replaced_by_the_latest():
    bus = EventBus()
    reader = bus.events()
    for step in range(100):
        bus.emit(JobProgress("a", step, 100))
        bus.emit(JobProgress("b", step, 100))
    assert await collected(bus, reader) == [JobProgress("a", 99, 100), JobProgress("b", 99, 100)]


async def test_a_reader_that_never_reads_is_bounded():
    bus = EventBus()
    reader = bus.events()
    for number in range(MAX_WAITING + 50):
        bus.emit(JobAccepted(str(number)))
    events = await collected(bus, reader)
    assert len(events) == MAX_WAITING
    assert events[0] == JobAccepted("50")
    assert events[-1] == JobAccepted(str(MAX_WAITING + 49))


async def test_a_slow_reader_knows_how_many_it_has_missed_and_a_quick_one_that_it_has_none():
    bus = EventBus()
    slow, quick = bus.events(), bus.events()
    for number in range(MAX_WAITING + 50):
        bus.emit(JobAccepted(str(number)))
        await anext(quick)
    assert (slow.missed, quick.missed) == (50, 0)


async def test_progress_in_place_of_earlier_progress_is_not_missed():
    bus = EventBus()
    reader = bus.events()
    for step in range(MAX_WAITING + 50):
        bus.emit(JobProgress("a", step, 2_000))
    assert (len(await collected(bus, reader)), reader.missed) == (1, 0)


async def test_a_dropped_reader_is_forgotten():
    bus = EventBus()
    bus.events()
    assert len(bus._readers) == 0


async def test_a_waiting_reader_is_woken_by_an_event_and_by_the_end():
    bus = EventBus()
    reader = bus.events()
    waiting = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    bus.emit(JobAccepted("a"))
    assert await waiting == JobAccepted("a")
    ending = asyncio.ensure_future(anext(reader, None))
    await asyncio.sleep(0)
    bus.close()
    assert await ending is None


async def test_a_reader_made_after_the_end_ends_at_once():
    bus = EventBus()
    bus.close()
    assert [event async for event in bus.events()] == []
