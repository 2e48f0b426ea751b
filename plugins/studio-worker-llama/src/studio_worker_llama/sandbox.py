"""Where a stranger's chat template is rendered: no way out of it, and a bound on time, memory and output.

Jinja's own sandbox keeps a template from Python's insides. It does not keep it from `range` in `range`, from texts that
double in a loop, or from 9 ** 9 ** 9, which is computed while the template is compiled. So every single operation that
could grow a value is measured first, and a trace on the rendering thread ends it when its time is over.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from jinja2 import TemplateError, Undefined, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_SECONDS = 2.0
MAX_CHARS = 8_000_000
"""Characters of any text, and of the whole prompt: twice what a conversation may hold."""

MAX_ITEMS = 100_000
"""Values in any list or mapping, counted with all that they hold."""

_MAX_BITS = 256
_CONTAINERS = (list, tuple, dict, set, frozenset)
_WIDTH_METHODS = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs", "format", "format_map", "translate"})
_FILTERS = (
    "abs capitalize count d default dictsort e escape first float groupby int items last length list lower map max "
    "min reject rejectattr reverse safe select selectattr sort string title trim unique upper"
)
_GLOBALS = ("range", "dict", "namespace")


class TemplateLimit(TemplateError):
    """A template wants more time or room than it gets."""


class _Generator(CodeGenerator):
    """Routes what Jinja compiles to plain Python, joining and building, through the environment's measures."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        self._measured(super().visit_List, node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        self._measured(super().visit_Dict, node, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        if node.ctx == "load":
            self._measured(super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def _measured(self, visit: Callable[[Any, Frame], None], node: nodes.Expr, frame: Frame) -> None:
        self.write("environment.measured(")
        visit(node, frame)
        self.write(")")


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """An environment for chat templates as the transformers library writes them, with bounds."""

    code_generator_class = _Generator
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        self.globals = {name: self.globals[name] for name in _GLOBALS}
        self.globals |= {"raise_exception": _raise, "strftime_now": _strftime_now}
        plain = {name: self._checked(self.filters[name]) for name in _FILTERS.split()}
        self.filters = {**plain, "tojson": _tojson, "join": self._join, "replace": _replace, "indent": _indent}
        self.filters |= {"sum": _sum, "round": _round}

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """Joins what a template has put out, as long as it stays within `MAX_CHARS`."""
        return "".join(_counted(parts))

    def joined(self, parts: Iterable[Any]) -> str:
        """The `~` of a template."""
        return self.concat(str(part) for part in parts)

    def measured(self, value: Any) -> Any:
        """The value itself, unless it holds too much."""
        todo, seen, chars = [value], 0, 0
        while todo:
            node = todo.pop()
            if isinstance(node, str):
                # A text that stands in many places is held once, and printed as often.
                chars += len(node)
                if chars > MAX_CHARS:
                    raise TemplateLimit(f"makes a value of more than {MAX_CHARS:,} characters of text")
            if isinstance(node, _CONTAINERS):
                seen += len(node)
                if seen > MAX_ITEMS:
                    raise TemplateLimit(f"makes a value of more than {MAX_ITEMS:,} parts")
                todo += [*node, *node.values()] if isinstance(node, dict) else node
        return value

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Besides Jinja's own rule: no methods that make a text of any width."""
        if isinstance(obj, str) and attr in _WIDTH_METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """Nothing: `str.format` pads a text to any width, so it is refused like the other methods that do."""

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """A forbidden attribute ends the template, also where it would only be printed."""
        raise SecurityError(f"access to attribute {attribute!r} of a {type(obj).__name__} is unsafe")

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """A call from a template: what could grow is measured before, what came back after."""
        text, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(text, str) and name == "replace":
            return _replace(text, *args, **kwargs)
        if isinstance(text, str) and name == "join":
            return self._join(args[0] if args else kwargs.get("iterable", ()), text)
        return self.measured(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """An operator: numbers and powers within bounds, texts and lists of bounded length, no formatting."""
        if isinstance(left, (int, float)) and isinstance(right, (int, float)):
            if operator == "**" and (abs(right) > _MAX_BITS or (isinstance(left, int) and left.bit_length() > 32)):
                raise TemplateLimit("computes too large a power")
            result = super().call_binop(context, operator, left, right)
            if isinstance(result, int) and result.bit_length() > _MAX_BITS * 32:
                raise TemplateLimit("computes too large a number")
            return result
        if operator == "+" and type(left) is type(right):
            limit = MAX_CHARS if isinstance(left, str) else MAX_ITEMS
            if hasattr(left, "__len__") and len(left) + len(right) > limit:
                raise TemplateLimit(f"adds to more than {limit:,} parts")
            return self.measured(super().call_binop(context, operator, left, right))
        if operator in "%*" and not (isinstance(left, (int, float)) and isinstance(right, (int, float))):
            times = right if isinstance(right, int) else left
            sequence = left if isinstance(right, int) else right
            if operator == "%" or not isinstance(times, int) or not hasattr(sequence, "__len__"):
                raise TemplateLimit(f"uses {operator} on something that is no number")
            if len(sequence) * max(times, 0) > MAX_ITEMS:
                raise TemplateLimit(f"repeats to more than {MAX_ITEMS:,} parts")
        return self.measured(super().call_binop(context, operator, left, right))

    def _join(self, value: Iterable[Any], d: str = "", attribute: str | None = None) -> str:
        items = value if attribute is None else (self.getitem(item, attribute) for item in value)
        parts = [str(item) for item in items]
        _check_chars(sum(map(len, parts)) + len(str(d)) * len(parts))
        return str(d).join(parts)

    def _checked(self, filter_: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*args: Any, **kwargs: Any) -> Any:
            return self.measured(filter_(*args, **kwargs))

        # How Jinja knows which filters want its context.
        if hasattr(filter_, "jinja_pass_arg"):
            checked.jinja_pass_arg = filter_.jinja_pass_arg  # type: ignore[attr-defined]  # a mark on a function
        return checked


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Ends Python code of this thread, line by line, once the time is over.

    Raises:
        TemplateLimit: it is.
    """
    deadline = time.monotonic() + seconds

    def watch(frame: FrameType, event: str, arg: Any) -> Any:
        if time.monotonic() > deadline:
            raise TemplateLimit(f"takes longer than {seconds:g} seconds")
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        yield
    finally:
        sys.settrace(before)


def _counted(parts: Iterable[str]) -> Iterator[str]:
    length = 0
    for part in parts:
        length += len(part)
        _check_chars(length)
        yield part


def _check_chars(length: int) -> None:
    if length > MAX_CHARS:
        raise TemplateLimit(f"makes a text of more than {MAX_CHARS:,} characters")


def _replace(text: Any, old: str, new: str, count: int | None = None) -> str:
    text, old, new = str(text), str(old), str(new)
    _check_chars(len(text) + (text.count(old) if old else len(text) + 1) * len(new))
    replaced: str = text.replace(old, new, -1 if count is None else count)
    return replaced


def _indent(text: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    margin = width if isinstance(width, str) else " " * min(max(width, 0), 64)
    lines = str(text).splitlines()
    _check_chars(len(str(text)) + len(margin) * len(lines))
    indented = [margin + line if (number or first) and (line or blank) else line for number, line in enumerate(lines)]
    return "\n".join(indented)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **_: Any) -> str:
    width = None if indent is None else min(max(int(indent), 0), 16)
    return "".join(_counted(json.JSONEncoder(ensure_ascii=ensure_ascii, indent=width).iterencode(value)))


def _sum(values: Iterable[Any], attribute: str | None = None, start: float = 0) -> float:
    read: Callable[[Any], float] = (lambda item: item) if attribute is None else (lambda item: item[attribute])
    return sum((float(number) if isinstance(number, float) else int(number) for number in map(read, values)), start)


def _round(value: float, precision: int = 0, method: str = "common") -> float:
    return round(value, min(max(precision, -15), 15))


def _raise(message: Any = "") -> None:
    raise TemplateError(str(message)[:500])


def _strftime_now(form: str) -> str:
    return dt.datetime.now(tz=dt.UTC).strftime(str(form)[:100])
