"""The shape of a request: equal where two differ in their text alone, and none where more could matter."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.policy.shape import MOST_MESSAGES, shape_of
from penstock.types import ChatRequest, Image, Message, Text, Tool

PLAIN = ChatRequest([Message.user("one"), Message.assistant("two"), Message.user("three")], temperature=0.0)


def test_requests_that_differ_in_their_text_alone_have_one_shape() -> None:
    other = msgspec.structs.replace(PLAIN, messages=(Message.user("x"), Message.assistant("y"), Message.user("z")))
    assert shape_of(PLAIN) == shape_of(other) != None  # noqa: E711 - both, and that there is one


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.5},
        {"temperature": None},
        {"top_p": 0.5},
        {"max_tokens": 1},
        {"seed": 1},
        {"model": "m"},
        {"system": "s"},
        {"messages": (Message.user("one"),)},
        {"messages": (Message.user("one"), Message.assistant("two"), Message.assistant("three"))},
    ],
)
def test_every_other_difference_is_one_of_shape(change: dict[str, Any]) -> None:
    assert shape_of(msgspec.structs.replace(PLAIN, **change)) not in (None, shape_of(PLAIN))


@pytest.mark.parametrize(
    "change",
    [
        {"tools": (Tool("f"),)},
        {"tool_choice": "none"},
        {"parallel_tool_calls": False},
        {"thinking": "off"},
        {"stop": ("END",)},
        {"output": {"type": "object"}},
        {"extra": {"openai": {"n": 2}}},
        {"system": Message("system", (Text("s"),))},
        {"messages": (Message.user([Image(data=b"x", media_type="image/png")]),)},
        {"messages": (Message.user([Text("cited", citations=({"type": "page_location"},))]),)},
        {"messages": (Message.user([Text("kept", cache="5m")]),)},
        {"messages": (Message.user("q"),) * (MOST_MESSAGES + 1)},
    ],
)
def test_what_is_more_than_text_and_plain_numbers_has_no_shape(change: dict[str, Any]) -> None:
    assert shape_of(msgspec.structs.replace(PLAIN, **change)) is None
