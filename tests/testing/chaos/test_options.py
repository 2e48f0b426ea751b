"""An option that is wrong is refused at the call, by its name and with what is allowed."""

import pytest

from studio_worker.testing import chaos

WORDS = [
    (chaos.crash, "how", "excption", "'exit', 'signal', 'exception', 'bad_input'"),
    (chaos.crash, "at", "laod", "'run', 'load'"),
    (chaos.hang, "at", None, "'run', 'load'"),
    (chaos.out_of_memory, "how", "rase", "'raise', 'python', 'exhaust'"),
    (chaos.out_of_memory, "at", "start", "'run', 'load'"),
    (chaos.leak, "what", "thread", "'memory', 'threads', 'files', 'children'"),
    (chaos.malformed, "how", ["type"], "'type', 'bytes', 'empty'"),
]


@pytest.mark.parametrize(("fault", "option", "value", "allowed"), WORDS)
def test_a_word_that_there_is_not_is_refused_with_those_that_there_are(fault, option, value, allowed):
    with pytest.raises(ValueError, match=option) as refused:
        fault(**{option: value})
    assert f"{option}={value!r}: one of {allowed}" in str(refused.value)


@pytest.mark.parametrize(
    ("fault", "option", "value", "needed"),
    [
        (chaos.slow, "secs", "1", "a number from 0 is needed"),
        (chaos.slow, "secs", True, "a number from 0 is needed"),
        (chaos.slow, "sleep", 3, "a function that takes seconds is needed"),
        (chaos.leak, "amount", 1.5, "a whole number from 1 is needed"),
        (chaos.crash, "on_job", "1", "a whole number from 1 is needed"),
        (chaos.crash, "on_job", None, "a whole number from 1 is needed"),
        (chaos.crash, "every", 2.0, "a whole number from 1 is needed"),
        (chaos.crash, "chance", "half", "a number from 0 to 1 is needed"),
        (chaos.crash, "seed", "a", "a whole number is needed"),
        (chaos.crash, "tally", 3, "the path of a file is needed"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_what_is_needed(fault, option, value, needed):
    with pytest.raises(TypeError, match=option) as refused:
        fault(**{option: value})
    assert str(refused.value) == f"{option}={value!r}: {needed}"


@pytest.mark.parametrize(
    ("fault", "option", "value"),
    [(chaos.slow, "secs", -1), (chaos.slow, "secs", float("nan")), (chaos.leak, "amount", 0)],
)
def test_a_number_out_of_its_range_is_refused_with_the_range(fault, option, value):
    with pytest.raises(ValueError, match=rf"{option}={value}: a (whole )?number from [01] is needed"):
        fault(**{option: value})


def test_an_option_that_there_is_not_is_refused_with_those_of_the_fault():
    with pytest.raises(TypeError, match="no option 'on_jobs'; there are how, at, every, on_job, chance, seed, tally"):
        chaos.crash(on_jobs=2)
    with pytest.raises(TypeError, match="no option 'hoow'; there are secs, sleep, every, on_job"):
        chaos.slow(hoow="signal")


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("exception", "engine='exception': an Engine or None is needed in the first place; the options come after it"),
        (0.2, "engine=0.2: an Engine or None is needed in the first place; the options come after it"),
        ("my_package:make", "engine='my_package:make': .* chaos.in_process takes a factory"),
        (chaos.Alone, r"engine=Alone: this is the class, an engine is needed: Alone\(\)"),
    ],
)
@pytest.mark.parametrize("fault", [chaos.crash, chaos.slow])
def test_what_is_no_engine_is_refused_with_what_is_needed(fault, engine, words):
    with pytest.raises(TypeError, match=words):
        fault(engine)


@pytest.mark.parametrize(
    ("options", "problem", "words"),
    [
        ({"hoow": "signal"}, TypeError, "no option 'hoow'"),
        ({"how": "sginal"}, ValueError, "how='sginal'"),
        ({"on_job": range(1, 3)}, TypeError, r"on_job=range\(1, 3\): a plain value is needed"),
        ({"engine": chaos.Alone()}, TypeError, "'package.module:factory' is needed, since no object gets a process"),
    ],
    ids=["name", "word", "value", "engine"],
)
def test_a_fault_for_a_process_is_checked_where_it_is_asked_for(in_folder, options, problem, words):
    with pytest.raises(problem, match=words):
        chaos.in_process(in_folder, "crash", **options)
    assert list(in_folder.iterdir()) == []


def test_the_folder_of_a_fault_may_be_a_text(in_folder):
    assert chaos.in_process(str(in_folder), "crash") == chaos.in_process(in_folder, "crash")
