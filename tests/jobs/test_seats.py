"""Seats: who may run."""

from studio_worker.jobs.seats import Seats


def test_a_worker_has_as_many_seats_as_its_operator_allows():
    seats = Seats(lambda: 2)
    taken = [seats.take("studio", has_capacity=True) for _ in range(2)]
    assert None not in taken
    assert seats.take("studio", has_capacity=True) is None


def test_a_studio_that_does_not_know_of_capacity_gets_one_seat():
    seats = Seats(lambda: 3)
    assert seats.take("studio", has_capacity=False)
    assert seats.take("studio", has_capacity=False) is None


def test_a_local_job_does_not_count_as_a_studios_job():
    seats = Seats(lambda: 2)
    assert seats.take("local", has_capacity=True)
    assert seats.take("studio", has_capacity=False)


def test_a_local_job_takes_a_seat_as_a_studios_does():
    seats = Seats(lambda: 1)
    assert seats.take("local", has_capacity=True)
    assert seats.take("studio", has_capacity=True) is None


def test_a_seat_that_was_left_can_be_taken_again():
    seats = Seats(lambda: 1)
    seat = seats.take("studio", has_capacity=False)
    seat.leave()
    assert seats.take("studio", has_capacity=False)


def test_leaving_twice_frees_one_seat_and_tells_once():
    told = []
    seats = Seats(lambda: 2, lambda: told.append(seats.taken))
    seat, _ = (seats.take("studio", has_capacity=True) for _ in range(2))
    seat.leave()
    seat.leave()
    assert told == [1]


def test_the_operators_new_number_counts_from_the_next_seat_on():
    allowed = [1]
    seats = Seats(lambda: allowed[0])
    assert seats.take("studio", has_capacity=True)
    assert seats.take("studio", has_capacity=True) is None
    allowed[0] = 2
    assert seats.take("studio", has_capacity=True)


def test_slots_are_one_for_a_studio_that_does_not_know_of_capacity():
    seats = Seats(lambda: 4)
    assert seats.slots(has_capacity=False) == 1
    assert seats.slots(has_capacity=True) == 4
