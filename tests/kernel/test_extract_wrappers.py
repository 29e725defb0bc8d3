"""A tool's parameters are an object, so a type may be asked for under `value`: what stands there is judged like any
other answer.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

import penstock
from penstock.errors import OutputInvalidError
from penstock.testing import AnsweredKernel
from penstock.types import Completion, Message, ToolCall

BY_TOOL: dict[str, Any] = {
    "providers": {"openai": {}},
    "routes": {"default": {"cascade": ["openai/gpt-3.5-turbo"]}},
}
BY_OTHER_TOOL: dict[str, Any] = {
    "providers": {"anthropic": {}},
    "routes": {"default": {"cascade": ["anthropic/claude-3-haiku-20240307"]}},
}
NATIVE: dict[str, Any] = {"providers": {"openai": {}}, "routes": {"default": {"cascade": ["openai/gpt-4o"]}}}
WAYS = pytest.mark.parametrize("config", [BY_TOOL, BY_OTHER_TOOL, NATIVE], ids=["by a tool", "by another", "native"])


class Filters(msgspec.Struct):
    category: str | None = None
    max_price: float | None = None


class Person(msgspec.Struct):
    name: str
    age: int | None = None


class Movie(msgspec.Struct):
    title: str
    year: int


class Reading(msgspec.Struct):
    value: float
    unit: str | None = None


ADA = {"name": "Ada", "age": 36}
DUNE = {"title": "Dune", "year": 2021}
SCHEMA = {"type": "object", "properties": {"category": {"type": "string"}}}


def extracted(kind: Any, answer: Any, config: dict[str, Any], *, called: bool = False) -> Any:
    """What comes of an answer that is text, or the arguments of a call."""

    async def extract(kernel: penstock.Kernel) -> Any:
        return (await kernel.extract(kind, "?", max_repairs=0)).value

    told: Any = json.dumps(answer)
    if called:
        name = kind.__name__ if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else "output"
        told = Completion(message=Message.assistant([ToolCall("1", name, answer)]), finish_reason="tool_calls")
    return AnsweredKernel([told], config=config).run(extract)


@pytest.mark.parametrize("called", [False, True], ids=["as text", "as a call"])
@pytest.mark.parametrize(
    ("kind", "answer", "want"),
    [
        (Filters, {"value": {"category": "x"}, "confidence": 0.9}, Filters("x")),
        (Filters, {"reasoning": "It says so.", "value": {"category": "x"}}, Filters("x")),
        (Filters, {"value": {"category": "x"}, "error": None}, Filters("x")),
        (Filters, {"value": {"value": {"category": "x"}}}, Filters("x")),
        (Filters, {"value": {"name": "Filters", "arguments": {"category": "x"}}}, Filters("x")),
        (Filters, {"value": {}}, Filters()),
        (Person, {"value": {"name": "Person", "arguments": ADA}}, Person("Ada", 36)),
        (Person, {"value": ADA, "confidence": 0.9}, Person("Ada", 36)),
        (Movie, {"value": DUNE, "confidence": 0.9}, Movie("Dune", 2021)),
        (Movie, {"value": DUNE, "value2": None}, Movie("Dune", 2021)),
        (Reading, {"value": 1.5, "unit": "kg"}, Reading(1.5, "kg")),
        (Reading, {"value": {"value": 1.5, "unit": "kg"}}, Reading(1.5, "kg")),
        (list[Filters], {"value": [{"category": "x"}], "count": 1}, [Filters("x")]),
    ],
)
def test_a_value_in_its_wrapper_is_found_whatever_else_is_said(
    kind: Any, answer: Any, want: Any, *, called: bool
) -> None:
    assert extracted(kind, answer, BY_TOOL, called=called) == want
    assert extracted(kind, answer, BY_OTHER_TOOL, called=called) == want


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        (Filters, {"value": {"query": "shoes"}}),
        (Filters, {"value": {"error": "cannot parse the request"}}),
        (Filters, {"value": SCHEMA}),
        (Filters, {"value": {"query": "shoes"}, "confidence": 0.9}),
        (list[Filters], {"value": [{"query": "shoes"}]}),
        (list[Filters], {"value": [{"category": "x"}, {"query": "shoes"}]}),
        (Filters | None, {"value": {"query": "shoes"}}),
        (Person, {"value": {"name": "Result", "result": ADA}}),
        (Person, {"value": {"name": "search", "arguments": {"name": "Ada"}}}),
        (Person, {"name": "Ada", "value": ADA}),
        (Person, {"value": ADA, "name": "Person"}),
        (list[Person], {"value": [{"name": "Result", "result": ADA}]}),
    ],
)
@WAYS
def test_what_says_nothing_or_wraps_the_value_is_asked_again_there_as_well(
    kind: Any, answer: Any, config: dict[str, Any]
) -> None:
    for called in (False, True) if config is not NATIVE else (False,):
        with pytest.raises(OutputInvalidError) as caught:
            extracted(kind, answer, config, called=called)
        assert caught.value.paths


class Setting(msgspec.Struct):
    value: dict[str, Any] = {}
    unit: str | None = None


@pytest.mark.parametrize("called", [False, True], ids=["as text", "as a call"])
def test_a_type_that_has_a_value_of_its_own_is_asked_again_where_either_may_be_meant(*, called: bool) -> None:
    with pytest.raises(OutputInvalidError):
        extracted(Setting, {"value": {"error": "cannot parse the request"}}, BY_TOOL, called=called)
    assert extracted(Setting, {"value": {"value": {"a": 1}}}, BY_TOOL, called=called) == Setting({"a": 1})
    told: dict[str, Any] = {"value": {"a": 1}, "unit": "kg"}
    assert extracted(Setting, told, BY_TOOL, called=called) == Setting({"a": 1}, "kg")
