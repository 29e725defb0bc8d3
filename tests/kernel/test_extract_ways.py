"""How targets are asked for a value: what they refuse is found out once, and what they say twice is said by nobody."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

import penstock
from penstock import Message, ToolCall
from penstock.errors import InvalidRequestError, OutputInvalidError
from penstock.testing import AnsweredKernel
from penstock.types import ChatRequest, Completion, Usage

ONE_OPENAI: dict[str, Any] = {"providers": {"openai": {}}, "routes": {"default": {"cascade": ["openai/gpt-4o"]}}}
BY_TOOL: dict[str, Any] = {
    "openai": {"providers": {"openai": {}}, "routes": {"default": {"cascade": ["openai/gpt-3.5-turbo"]}}},
    "anthropic": {
        "providers": {"anthropic": {}},
        "routes": {"default": {"cascade": ["anthropic/claude-3-haiku-20240307"]}},
    },
}


class Trip(msgspec.Struct):
    city: str
    days: int = 1


GOOD = '{"city": "Rome", "days": 3}'
SCHEMA_REFUSED = InvalidRequestError("Invalid schema for response_format 'Trip'", code="invalid_json_schema")
RAW = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


async def extract(kernel: penstock.Kernel, kind: Any = Trip, /, **words: Any) -> penstock.Extracted[Any]:
    return await kernel.extract(kind, "Plan a trip.", **words)


def by_tool(*arguments: dict[str, Any], finish: str = "tool_calls") -> Completion:
    calls = [ToolCall(str(at), "Trip", each) for at, each in enumerate(arguments)]
    return Completion(
        message=Message.assistant(calls), finish_reason=finish, usage=Usage(input_tokens=1, output_tokens=9)
    )


def ways(kernel: AnsweredKernel) -> list[str]:
    def way(request: ChatRequest) -> str:
        if request.output is not None:
            return "native" if request.output.schema else "object"
        return "tool" if request.tools else "words"

    return [way(request) for request in kernel.requests]


CALL = by_tool({"city": "Rome"})


@pytest.mark.parametrize("kind", [Trip, dict(RAW, title="Trip")], ids=["a class", "a raw schema"])
@pytest.mark.parametrize("words", [{}, {"thinking": "off"}], ids=str)
def test_a_refused_schema_is_not_sent_to_the_same_target_again(kind: Any, words: dict[str, Any]) -> None:
    kernel = AnsweredKernel([SCHEMA_REFUSED, CALL, CALL, CALL], config=ONE_OPENAI)

    async def three(kernel: penstock.Kernel) -> list[int]:
        copies: list[Any] = [kind if kind is Trip else {**kind} for _ in range(3)]
        return [len((await extract(kernel, each, **words)).response.attempts) for each in copies]

    assert kernel.run(three) == [2, 1, 1]
    assert ways(kernel) == ["native", "tool", "tool", "tool"]


def test_a_refused_schema_says_nothing_of_another() -> None:
    class Other(msgspec.Struct):
        city: str

    kernel = AnsweredKernel([SCHEMA_REFUSED, CALL, GOOD], config=ONE_OPENAI)

    async def two(kernel: penstock.Kernel) -> None:
        await extract(kernel)
        await extract(kernel, Other)

    kernel.run(two)
    assert ways(kernel) == ["native", "tool", "native"]


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequestError("max_tokens is too large: 99999"),
        InvalidRequestError("messages: roles must alternate", code="invalid_value"),
        InvalidRequestError("Could not parse the image"),
    ],
    ids=str,
)
def test_a_refusal_of_something_else_is_never_sent_again(error: InvalidRequestError) -> None:
    kernel = AnsweredKernel([error], config=ONE_OPENAI)
    with pytest.raises(InvalidRequestError):
        kernel.run(extract)
    assert ways(kernel) == ["native"]


@pytest.mark.parametrize("wire", BY_TOOL)
def test_a_tool_is_asked_to_be_called_once(wire: str) -> None:
    kernel = AnsweredKernel([CALL], config=BY_TOOL[wire])
    assert kernel.run(extract).value == Trip("Rome")
    assert kernel.requests[0].parallel_tool_calls is False


def test_a_target_that_refuses_to_be_told_so_is_asked_by_the_tool_alone() -> None:
    config = BY_TOOL["openai"]
    kernel = AnsweredKernel([InvalidRequestError("Unknown parameter: parallel_tool_calls"), CALL, CALL], config=config)

    async def two(kernel: penstock.Kernel) -> None:
        await extract(kernel)
        await extract(kernel)

    kernel.run(two)
    assert ways(kernel) == ["tool", "tool", "tool"]
    assert [request.parallel_tool_calls for request in kernel.requests] == [False, None, None]


@pytest.mark.parametrize("wire", BY_TOOL)
@pytest.mark.parametrize("first", [{"city": "Oslo"}, {"city": 5}], ids=str)
def test_two_calls_of_the_tool_with_different_values_are_no_value(wire: str, first: dict[str, Any]) -> None:
    kernel = AnsweredKernel([by_tool(first, {"city": "Rome"}), CALL], config=BY_TOOL[wire])
    with pytest.raises(OutputInvalidError) as caught:
        kernel.run(lambda each: extract(each, max_repairs=0))
    assert "Rome" in caught.value.last_output
    assert str(first["city"]) in caught.value.last_output
    kernel = AnsweredKernel([by_tool(first, {"city": "Rome"}), CALL], config=BY_TOOL[wire])
    assert kernel.run(extract).value == Trip("Rome")
    assert "2 different values were given" in kernel.requests[1].messages[-1].text


@pytest.mark.parametrize("wire", BY_TOOL)
def test_two_calls_of_the_tool_with_the_same_value_are_that_value(wire: str) -> None:
    twice = by_tool({"city": "Rome", "days": 2}, {"days": 2, "city": "Rome"})
    assert AnsweredKernel([twice], config=BY_TOOL[wire]).run(extract).value == Trip("Rome", 2)


def test_a_second_call_that_is_cut_off_leaves_no_value() -> None:
    kernel = AnsweredKernel([by_tool({"city": "Oslo"}, {}, finish="length")], config=BY_TOOL["openai"])
    with pytest.raises(OutputInvalidError, match="was cut"):
        kernel.run(lambda each: extract(each, max_repairs=0))
