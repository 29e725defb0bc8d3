"""A request that is told to be plain is one in which nothing can be wrong: of it nothing else is asked."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from penstock._plan import _wrong_text, _wrong_types  # pyright: ignore[reportPrivateUsage]
from penstock._request import check_request, is_plain
from penstock.errors import UnsendableRequestError
from penstock.types import ChatRequest, Image, Message, Text, ToolResult

TEXTS = st.sampled_from(("hello", "", "é", "\ud800", "a\x00b"))
PARTS = st.one_of(
    TEXTS.map(Text),
    st.builds(Text, TEXTS, citations=st.just(({"at": "\ud800"},))),
    st.just(ToolResult("nobody called it", "4")),
    st.just(Image(url="ftp://nowhere")),
)
MESSAGES = st.lists(
    st.builds(Message, st.sampled_from(("user", "system", "assistant")), st.lists(PARTS, max_size=2)), max_size=3
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "model": st.sampled_from((None, "openai/gpt-4o", "openai/\ud800", "openai/é", 4)),
    "system": st.sampled_from((None, "be brief", "\ud800", 4)),
    "max_tokens": st.sampled_from((None, 5, 0, -1, 2.5, True, "5", 10**9, 10**9 + 1)),
    "temperature": st.sampled_from((None, 0, 0.5, 2, -1, float("nan"), float("inf"), True, "0")),
    "top_p": st.sampled_from((None, 0.5, 2)),
    "seed": st.sampled_from((None, 7, True, 0.5)),
    "stop": st.sampled_from(((), ("END",), ("",))),
    "tool_choice": st.sampled_from((None, "nobody")),
    "thinking": st.sampled_from((None, "low", "lots", 0)),
    "extra": st.sampled_from(({}, {"openai": {"x": object()}})),
}


@given(MESSAGES, st.fixed_dictionaries({}, optional=VALUES))
@example([Message.user("hello")], {})
@example([Message.user("hello")], {"max_tokens": True})
@example([Message.user("hello")], {"temperature": float("nan")})
@example([Message.user("hello")], {"model": "openai/\ud800"})
@example([Message.user("hello")], {"max_tokens": 10**9 + 1})
@example([Message.system("hello")], {})
@example([], {})
def test_of_what_is_plain_nothing_is_wrong(messages: list[Message], fields: dict[str, Any]) -> None:
    request = ChatRequest(messages, **fields)
    if not is_plain(request):
        return
    assert not [*_wrong_types(request), *_wrong_text(request)]
    try:
        check_request(request)
    except UnsendableRequestError as error:
        raise AssertionError(str(error)) from None


def test_what_nearly_everybody_asks_is_plain() -> None:
    assert is_plain(ChatRequest("hello", system="be brief", temperature=0, max_tokens=5, seed=7, model="openai/gpt-4o"))
    assert not is_plain(ChatRequest("é"))
