"""A model that writes the call of one of the caller's own tools as text: its arguments are no value."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

import penstock
from penstock.errors import OutputInvalidError
from penstock.testing import AnsweredKernel

NATIVE: dict[str, Any] = {"providers": {"openai": {}}, "routes": {"default": {"cascade": ["openai/gpt-4o"]}}}
OTHER: dict[str, Any] = {"providers": {"openai": {}}, "routes": {"default": {"cascade": ["openai/gpt-3.5-turbo"]}}}
WAYS = pytest.mark.parametrize("config", [NATIVE, OTHER], ids=["native", "not native"])


class Movie(msgspec.Struct):
    title: str
    year: int


class Step(msgspec.Struct):
    name: str
    arguments: dict[str, Any]


DUNE = Movie("Dune", 2021)
WRITTEN = '{"title": "Dune", "year": 2021}'
QUOTED = json.dumps(WRITTEN)


def extracted(kind: Any, answer: str, tool: str, config: dict[str, Any]) -> Any:
    parameters = {"type": "object", "properties": {"title": {"type": "string"}, "year": {"type": "integer"}}}

    async def extract(kernel: penstock.Kernel) -> Any:
        tools = [penstock.Tool(tool, "Looks for it.", parameters)]
        return (await kernel.extract(kind, "?", tools=tools, max_repairs=0)).value

    return AnsweredKernel([answer], config=config).run(extract)


class Search(msgspec.Struct):
    search: str


class Use(msgspec.Struct):
    tool: str
    args: dict[str, Any] = {}


class Plan(msgspec.Struct):
    tool_calls: list[Use]


@WAYS
@pytest.mark.parametrize(
    ("kind", "answer", "value"),
    [
        (Search, '{"search": "shoes"}', Search("shoes")),
        (list[Use], '[{"tool": "search", "args": {"q": "x"}}, {"tool": "ls"}]', [Use("search", {"q": "x"}), Use("ls")]),
        (Plan, '{"tool_calls": [{"tool": "search", "args": {"q": "x"}}]}', Plan([Use("search", {"q": "x"})])),
        (dict[str, str], '{"search": "none"}', {"search": "none"}),
        (Movie, f"According to search_movie:\n{WRITTEN}", DUNE),
        (Movie, f"Result of search:\n```json\n{WRITTEN}\n```", DUNE),
    ],
)
def test_a_value_with_the_names_of_its_type_alone_is_no_call_whatever_tools_there_are(
    kind: Any, answer: str, value: Any, config: dict[str, Any]
) -> None:
    assert extracted(kind, answer, "search_movie" if "search_movie" in answer else "search", config) == value


@pytest.mark.parametrize("name", ["search_movie", "search"])
@pytest.mark.parametrize(
    "told",
    [
        '{"name": "NAME", "arguments": VALUE}',
        '{"name": "NAME", "arguments": QUOTED}',
        '{"name": "functions.NAME", "parameters": VALUE}',
        '{"function": "NAME", "arguments": VALUE}',
        '{"action": "NAME", "action_input": VALUE}',
        '{"tool": "NAME", "args": VALUE, "thought": "I look for it."}',
        '{"NAME": VALUE}',
        '{"type": "function", "function": {"name": "NAME", "arguments": QUOTED}}',
        '{"type": "tool_use", "id": "toolu_1", "name": "NAME", "input": VALUE}',
        '{"tool_calls": [{"id": "c", "type": "function", "function": {"name": "NAME", "arguments": QUOTED}}]}',
        '{"result": {"name": "NAME", "arguments": VALUE}}',
        '```json\n{"name": "NAME", "arguments": VALUE}\n```',
        '<tool_call>\n{"name": "NAME", "arguments": VALUE}\n</tool_call>',
        '[TOOL_CALLS][{"name": "NAME", "arguments": VALUE}]',
        "[TOOL_CALLS]NAME[ARGS]VALUE",
        "<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>VALUE<|call|>",
        "<function=NAME>VALUE</function>",
        "<NAME>VALUE</NAME>",
        "NAME(VALUE)",
        "Action: NAME\nAction Input: VALUE",
        "Thought: I look for it.\n**Action:** `NAME`\n**Action Input:**\n```json\nVALUE\n```",
        "<|tool▁call▁begin|>function<|tool▁sep|>NAME\n```json\nVALUE\n```<|tool▁call▁end|>",
        "functions.NAME:0<|tool_call_argument_begin|>VALUE",
        "**Tool call:** NAME\n\n```json\nVALUE\n```",
        "Calling `NAME`:\n```json\nVALUE\n```",
        "I do not know that film. I am calling `NAME`:\n```json\nVALUE\n```",
        "Let me use NAME.\nVALUE",
        "I will now run the tool `NAME`.\n```json\nVALUE\n```",
        "TOOL_CALL: NAME\nVALUE",
        "TOOL_CALL: NAME\n\nVALUE",
        '{"call": "NAME", "args": VALUE}',
        '{"command": "NAME", "args": VALUE}',
        '{"method": "NAME", "params": VALUE}',
        '{"operation": "NAME", "arguments": VALUE}',
        '{"endpoint": "NAME", "params": VALUE}',
        "I will invoke the NAME tool with these arguments:\n```json\nVALUE\n```",
        "I'm going to call NAME now:\nVALUE",
        "To answer this, I need to run NAME first.\nVALUE",
        "I'll look it up using NAME:\n```json\nVALUE\n```",
        "I do not know it, so let me check with NAME:\nVALUE",
        "Here are the arguments for the NAME tool:\n```json\nVALUE\n```",
        "Tool: NAME\n\n```json\nVALUE\n```",
        "Next step: NAME\nVALUE",
        "[NAME]\nVALUE",
        "I can call NAME:\nVALUE",
        "I have to look it up using NAME:\nVALUE",
        "We could now run NAME with this:\nVALUE",
        "I cannot know it without a look, so I will use NAME:\nVALUE",
        "I can't know the year. I'll call NAME:\nVALUE",
        "My call to NAME:\nVALUE",
        "I can look up the film using NAME:\n```json\nVALUE\n```",
        "Sure! I can quickly check that with NAME:\nVALUE",
        "I could check this with NAME:\nVALUE",
        "I can't answer that directly, calling NAME:\nVALUE",
        "As an answer to this, arguments for NAME:\nVALUE",
    ],
)
@WAYS
def test_its_arguments_are_no_value(told: str, name: str, config: dict[str, Any]) -> None:
    answer = told.replace("NAME", name).replace("VALUE", WRITTEN).replace("QUOTED", QUOTED)
    with pytest.raises(OutputInvalidError):
        extracted(Movie, answer, name, config)


@pytest.mark.parametrize("name", ["search_movie", "movie"])
@pytest.mark.parametrize(
    "told",
    [
        "VALUE",
        "Movie: VALUE",
        "Here is the movie: VALUE",
        "I used NAME, and it found this:\nVALUE",
        "The result of NAME is:\n\n```json\nVALUE\n```",
        "After calling NAME:\n```json\nVALUE\n```",
        "Result of the tool call NAME:\n```json\nVALUE\n```",
        "Tool calls made: NAME\n```json\nVALUE\n```",
        "NAME is of no use here: I know the film.\n```json\nVALUE\n```",
        "Tools used: NAME\n\nVALUE",
        "Calls used: NAME\n\nVALUE",
        "Source tool: NAME\n\nVALUE",
        "Using the data from NAME:\n```json\nVALUE\n```",
        "According to the NAME tool:\n```json\nVALUE\n```",
        "From the NAME call:\n```json\nVALUE\n```",
        "I found this using NAME:\n```json\nVALUE\n```",
        "Here is the film, retrieved using `NAME`:\n```json\nVALUE\n```",
        "This is what I got by calling NAME:\n```json\nVALUE\n```",
        "I'll give you the film found using NAME:\n```json\nVALUE\n```",
        "I made a call to NAME:\n```json\nVALUE\n```",
        "I don't need to call NAME.\n```json\nVALUE\n```",
        "I will answer without calling NAME.\n```json\nVALUE\n```",
        "There was no need to use NAME.\nVALUE",
        "To verify it, run NAME.\n```json\nVALUE\n```",
        "I have retrieved the film using NAME:\n```json\nVALUE\n```",
        "I have looked up the film with NAME:\n```json\nVALUE\n```",
        "I have confirmed it by calling NAME.\nVALUE",
        "I could find the film with NAME:\n```json\nVALUE\n```",
        "I can confirm the film via NAME:\nVALUE",
        "We have the film via NAME:\n```json\nVALUE\n```",
        "The response to my call to NAME:\n```json\nVALUE\n```",
        "Here is the reply to the call to NAME:\nVALUE",
        "I can't call NAME.\nVALUE",
        "I can\u2019t use NAME:\n```json\nVALUE\n```",
        "I am unable to call NAME:\n```json\nVALUE\n```",
        "I wish I could, but we aren't to use NAME:\nVALUE",
        '{"result": VALUE, "source": "NAME"}',
        '{"name": "answer", "arguments": VALUE}',
    ],
)
@WAYS
def test_a_value_beside_its_name_is_one(told: str, name: str, config: dict[str, Any]) -> None:
    assert extracted(Movie, told.replace("NAME", name).replace("VALUE", WRITTEN), name, config) == DUNE


def test_its_name_may_be_written_in_other_letters() -> None:
    with pytest.raises(OutputInvalidError):
        extracted(Movie, f'{{"name": "Search_Movie", "arguments": {WRITTEN}}}', "search_movie", NATIVE)


class Remote(msgspec.Struct):
    method: str
    params: dict[str, Any]


def test_a_type_with_a_method_and_its_parameters_may_name_a_tool() -> None:
    told = json.dumps({"method": "search", "params": {"q": "x"}})
    assert extracted(Remote, told, "search", NATIVE) == Remote("search", {"q": "x"})


def test_a_type_that_is_like_a_call_may_be_one() -> None:
    told = json.dumps({"name": "search", "arguments": {"title": "Dune"}})
    assert extracted(Step, told, "search", NATIVE) == Step("search", {"title": "Dune"})
    with pytest.raises(OutputInvalidError):
        extracted(Step, f"[TOOL_CALLS]search[ARGS]{told}", "search", NATIVE)


def test_what_is_wrong_with_it_is_told() -> None:
    with pytest.raises(OutputInvalidError) as caught:
        extracted(Movie, f"<function=search>{WRITTEN}</function>", "search", NATIVE)
    assert caught.value.paths == ("$",)
