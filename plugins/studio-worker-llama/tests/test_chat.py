from __future__ import annotations

import sys
from typing import Any

import pytest
from studio_worker_llama.chat import MAX_TEMPLATE, ChatTemplate

from studio_worker import BadInput, EngineError, LlmTask

CHATML = (
    "{%- for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim }}"
    "{{- '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SIXTY, END = "{% for a in range(60) %}", "{% endfor %}"
QWEN_TAIL = (
    "{%- if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{%- else %}<think>\n{%- endif %}"
)


def task(text: str = "Hi", **fields: Any) -> LlmTask:
    fields.setdefault("messages", [{"role": "user", "content": text}])
    return LlmTask(**fields)


def rendered(source: str, *, max_seconds: float = 1.0, **fields: Any) -> str:
    return ChatTemplate(source, bos="<s>", eos="</s>", max_seconds=max_seconds).prompt(task(**fields)).text


def test_a_conversation_is_rendered_with_its_system_text_first() -> None:
    messages = [{"role": "user", "content": " Hi "}, {"role": "assistant", "content": "Yo"}]
    assert rendered(CHATML, messages=messages, system="Be kind.") == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nYo<|im_end|>\n<|im_start|>assistant\n"
    )


def test_values_of_the_request_reach_the_template_but_replace_nothing_of_ours() -> None:
    source = "{{ bos_token }}{{ eos_token }}{{ add_generation_prompt }}{{ messages | length }}{{ mood }}"
    values = {"mood": "gay", "bos_token": "X", "eos_token": "X", "add_generation_prompt": False, "messages": []}
    assert rendered(source, chat_template_kwargs=values) == "<s></s>True1gay"


@pytest.mark.parametrize(("values", "is_thinking"), [({}, True), ({"enable_thinking": False}, False)])
def test_a_prompt_knows_whether_it_opens_the_thinking(values: dict[str, Any], is_thinking: bool) -> None:
    prompt = ChatTemplate(QWEN_TAIL).prompt(task(chat_template_kwargs=values))
    assert prompt.is_thinking is is_thinking


def test_python_methods_that_templates_use_work() -> None:
    source = (
        "{{ ' aXb '.strip().split('X') | join('-') }}{{ 'ab'.startswith('a') }}{{ 'a\n'.rstrip() }}{{ 'x'.upper() }}"
    )
    assert rendered(source) == "a-bTrueaX"


def test_namespaces_loops_and_macros_work() -> None:
    source = (
        "{%- macro m(x) %}<{{ x }}>{% endmacro %}{%- set ns = namespace(n=0) %}"
        "{%- for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{% set ns.n = ns.n + x %}{{ m(x) }}"
        "{% endfor %}"
        "{{ ns.n }}{{ {'a': [1, 'ü']} | tojson }}{{ messages[::-1] | length }}{{ 'a' ~ 1 }}"
    )
    assert rendered(source) == '<1><3>4{"a": [1, "ü"]}1a1'


def test_a_refusal_of_the_template_is_told_as_it_says_it() -> None:
    with pytest.raises(BadInput, match=r"task\.messages: .* No systems here"):
        rendered("{{ raise_exception('No systems here') }}")


def test_a_conversation_that_the_template_trips_over_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"task\.messages"):
        rendered("{{ messages[0].content.nothing.more }}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__class__ }}",
        "{{ raise_exception.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ self.__init__ }}",
        "{{ ''['__class__'] }}",
        "{{ '' | attr('__class__') }}",
        "{{ messages.append(1) }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_there_is_no_way_out_of_a_template(source: str) -> None:
    with pytest.raises((BadInput, EngineError)):
        rendered(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ range(10**9) | list }}",
        "{% for a in range(10**9) %}x{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}xxxxxxxxxxxxxxxx{% endfor %}{% endfor %}",
        "{{ 9 ** 999999999 }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ 9 ** 9 ** 9 ** 9 }}",
        "{{ 'a' * 10**9 }}",
        "{{ [1] * 10**9 }}",
        "{% set ns = namespace(s='xx') %}" + SIXTY + "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(s='xx') %}" + SIXTY + "{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}" + SIXTY + "{% set ns.s = [ns.s, ns.s] %}" + END + "{{ ns.s }}",
        "{% set ns = namespace(s=[1]) %}" + SIXTY + "{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s={}) %}" + SIXTY + "{% set ns.s = {'a': ns.s, 'b': ns.s} %}" + END + "{{ ns.s }}",
        "{% set ns = namespace(s={}) %}" + SIXTY + "{% set ns.s = dict(a=ns.s, b=ns.s) %}" + END + "{{ ns.s }}",
        "{% set ns = namespace(n=9) %}" + SIXTY + "{% set ns.n = ns.n * ns.n %}" + END + "{{ ns.n }}",
        "{% macro d(x) %}{{ x }}{{ x }}{% endmacro %}{% set ns = namespace(s='x') %}"
        + SIXTY
        + "{% set ns.s = d(ns.s) %}"
        + END,
        "{% set ns = namespace(s='aa') %}{% for a in range(9) %}{% set ns.s = ns.s.replace('a', ns.s) %}{% endfor %}",
        "{% set ns = namespace(s='aa') %}{% for a in range(9) %}{% set ns.s = ns.s | replace('a', ns.s) %}{% endfor %}",
        "{% set s = 'a' * 9999 %}{{ [s] * 9999 | join(s) }}",
        "{% set s = 'a' * 9999 %}{{ s.join([s] * 9999) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ 'a'.ljust(999999999) }}",
        "{{ 'a'.zfill(999999999) }}",
        "{{ 'a' | center(999999999) }}",
        "{{ {} | tojson(indent=999999999) }}{{ range(99999) | map('string') | join('x' * 99999) }}",
        "{% set s = 'a' * 99999 %}{{ [s] * 9999 }}",
        "{% set s = 'a' * 99999 %}{{ [s] * 9999 | tojson }}",
        "{% set s = 'a' * 99999 %}{{ ([s] * 70) | tojson(indent=2) }}{{ [[s] * 70, [s] * 70] | length }}",
        "{% set ns = namespace(s=[]) %}" + SIXTY + "{% set ns.s = [ns.s] %}" + END + "{{ [ns.s] * 999 | tojson(16) }}",
        "{{ lipsum(999999) }}",
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ],
)
def test_a_template_that_wants_too_much_is_ended_with_a_sentence(source: str) -> None:
    with pytest.raises((BadInput, EngineError), match="chat template") as error:
        rendered(source, max_seconds=0.5)
    assert not error.value.retryable


def test_the_trace_of_a_debugger_is_given_back() -> None:
    before = sys.gettrace()
    with pytest.raises(EngineError, match="takes longer than"):
        rendered("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", max_seconds=0.05)
    assert sys.gettrace() is before


def test_a_huge_template_is_not_even_read() -> None:
    with pytest.raises(EngineError, match="characters"):
        ChatTemplate("x" * (MAX_TEMPLATE + 1))


@pytest.mark.parametrize("source", ["{% for %}", "{{ 1 + }}", "{% nonsense %}", "{{ 'a' | nonesuch }}"])
def test_a_template_that_cannot_be_compiled_is_refused(source: str) -> None:
    with pytest.raises(EngineError, match="the model's chat template cannot be used"):
        ChatTemplate(source)


def test_a_long_conversation_is_rendered_within_the_time() -> None:
    messages = [{"role": "user", "content": "x" * 1_500}] * 2_000
    assert len(rendered(CHATML, messages=messages, max_seconds=20)) > 3_000_000


def test_without_a_template_a_lone_text_is_continued() -> None:
    prompt = ChatTemplate("").prompt(task("Once upon a"))
    assert (prompt.text, prompt.stops) == ("Once upon a", ())


def test_without_a_template_a_conversation_is_a_script() -> None:
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yo"},
        {"role": "user", "content": "?"},
    ]
    prompt = ChatTemplate(" ").prompt(task(messages=messages, system="Be kind."))
    assert prompt.text == "Be kind.\n\nUser: Hi\n\nAssistant: Yo\n\nUser: ?\n\nAssistant:"
    assert "\nUser:" in prompt.stops
