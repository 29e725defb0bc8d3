"""Every field of a request and the key: generated from the types, so that a new field is in by itself.

For each field some values are drawn. Two requests that differ in one field have two keys exactly where what goes over
the wire to that target differs. Nothing here names a field but to say how its values are made.
"""

from __future__ import annotations

import itertools
import types
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest

import penstock.types as values
from penstock.abc import Provider
from penstock.errors import CallError
from penstock.policy.cache_key import NOT_THE_QUESTION, Question
from penstock.types import ChatRequest, Message, Target, Text, Tool, ToolCall, ToolResult, WireRequest
from penstock_providers.anthropic_messages import penstock_providers as anthropic
from penstock_providers.openai_chat import penstock_providers as openai

TOOL = {"type": "object", "properties": {"city": {"type": "string"}}}
CONVERSATION: dict[str, Any] = {
    "messages": (
        Message.user("Where is it raining?"),
        Message("assistant", (Text("Let me see."), ToolCall("call_12345678", "weather", {"city": "Oslo"}))),
        Message.user([ToolResult("call_12345678", "Sunny.")]),
    ),
    "tools": (Tool("weather", "Tells it.", TOOL),),
    "max_tokens": 4_000,
}
"""A request in which every kind of field may be changed and it can still be said."""
EXTRA: tuple[dict[str, dict[str, Any]], ...] = (
    {},
    {"openai-chat": {"new_field": 1}},
    {"openai-chat": {"new_field": 2}},
    {"anthropic-messages": {"top_k": 3}},
)
BY_HAND: dict[str, tuple[Any, ...]] = {
    # Where a type says too little of what makes sense.
    "model": (None, "x/y"),
    "tool_choice": (None, "auto", "required", "weather"),
    "extra": EXTRA,
    "temperature": (None, 0.0, 0.5, 1.0),
    "thinking": (None, "off", "high", 2_048),
    "messages": (
        CONVERSATION["messages"],
        (*CONVERSATION["messages"], Message.assistant("It is sunny."), Message.user("And in Rome?")),
        CONVERSATION["messages"][:1],
    ),
    "tools": (CONVERSATION["tools"], (Tool("weather", "Tells another thing.", TOOL),), (Tool("weather", "Tells it."),)),
}
FIELDS = [field.name for field in msgspec.structs.fields(ChatRequest)]


def drawn(kind: Any) -> Iterator[Any]:  # noqa: C901, PLR0912 - one line for each kind of type
    """Values of a type that differ."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        yield from itertools.chain.from_iterable(drawn(one) for one in arguments)
    elif origin is Literal:
        yield from arguments
    elif kind is type(None):
        yield None
    elif kind is Any:
        yield from (None, int)  # a type to check answers by, which is sent nowhere
    elif kind is bool:
        yield from (True, False)
    elif kind is int:
        yield from (1, 7)
    elif kind is float:
        yield from (0.25, 0.75)
    elif kind is str:
        yield from ("one", "another")
    elif kind is bytes:
        yield from (b"one", b"another")
    elif origin in (tuple, Sequence):
        yield ()
        yield from ((each,) for each in drawn(arguments[0]))
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield from made(kind)
    elif origin is dict:
        yield from ({"type": "object", "title": each} for each in ("One", "Another"))
    else:
        raise TypeError(f"how values of {kind} are drawn is not said: add it here, so that its fields are tested")


def made(kind: type[msgspec.Struct], **given: Any) -> Iterator[Any]:
    """Instances that differ in one field each; `given` is the same in all."""
    if kind is Message:
        yield from (Message.system("Be brief."), Message.system("Be kind."))
        return
    hints = get_type_hints(kind, None, vars(values))
    first: dict[str, Any] = {
        field.name: next(iter(drawn(hints[field.name]))) for field in msgspec.structs.fields(kind) if field.required
    }
    first |= given
    yield kind(**first)
    for field in msgspec.structs.fields(kind):
        if field.name in given:
            continue
        for value in list(drawn(hints[field.name]))[:3]:
            yield kind(**{**first, field.name: value})


def values_of(field: str) -> list[Any]:
    """What a field of a request is set to."""
    hints = get_type_hints(ChatRequest, None, vars(values))
    return list(BY_HAND[field]) if field in BY_HAND else list(drawn(hints[field]))


def codec(spec: Any) -> Provider:
    """The codec behind a spec, opened without a kernel."""
    import logging

    import trio

    from penstock.hookspecs import PluginTools

    async def opened() -> Provider:
        options = spec.options()
        tools = PluginTools(name=spec.name, wall=lambda: 0.0, logger=logging.getLogger("test"))
        async with spec.open(options, tools) as provider:
            assert isinstance(provider, Provider)
            return provider

    return trio.run(opened)


CODECS = {
    "openai": (codec(openai()[0]), "gpt-4o"),
    "openai-reasoning": (codec(openai()[0]), "o3"),
    "anthropic": (codec(anthropic()[0]), "claude-sonnet-4-20250514"),
}


def encoded(name: str, request: ChatRequest, *, stream: bool = False) -> WireRequest:
    provider, model = CODECS[name]
    return provider.encode(request, Target(name="t", provider=name, model=model), stream=stream, now=1_000.0)


def key_of(name: str, wire: WireRequest, tenant: str = "default") -> str:
    provider, _ = CODECS[name]
    question = Question.of(wire, family=provider.family, significant_headers=provider.significant_headers)
    return question.key(tenant)


def on_the_wire(name: str, wire: WireRequest) -> Any:
    """What can change the answer: all that is sent but who asks. By another way than the key's own."""
    provider, _ = CODECS[name]
    body: Any = msgspec.json.decode(wire.body)
    for field in NOT_THE_QUESTION[provider.family]:
        body.pop(field, None)
    headers = sorted(pair for pair in wire.headers if pair[0] not in {"accept", "content-type", "user-agent"})
    return wire.method, wire.url, body, headers


@pytest.mark.parametrize("name", sorted(CODECS))
@pytest.mark.parametrize("field", FIELDS)
def test_a_change_of_a_field_changes_the_key_exactly_where_it_changes_what_is_sent(name: str, field: str) -> None:
    given = values_of(field)
    assert len(given) > 1, f"{field}: only one value is drawn"
    wires = [encoded(name, ChatRequest(**{**CONVERSATION, field: value})) for value in given]
    for one, other in itertools.combinations(wires, 2):
        same = on_the_wire(name, one) == on_the_wire(name, other)
        assert (key_of(name, one) == key_of(name, other)) is same


@pytest.mark.parametrize("field", [field for field in FIELDS if field != "model"])
def test_every_field_reaches_one_of_the_wires(field: str) -> None:
    def kinds(name: str) -> int:
        requests = (ChatRequest(**{**CONVERSATION, field: value}) for value in values_of(field))
        return len({msgspec.json.encode(on_the_wire(name, encoded(name, request))) for request in requests})

    reached = [name for name in CODECS if kinds(name) > 1]
    assert reached, f"no change of {field} reaches any wire: how its values are drawn proves nothing"


PARTS = {kind.__name__: kind for kind in get_args(values.Part)}


def told_apart(name: str, requests: list[ChatRequest]) -> int:
    """Checks that two of them have two keys exactly where two things are sent; how many the wire can say."""
    wires: list[WireRequest] = []
    for request in requests:
        try:
            wires.append(encoded(name, request))
        except CallError:
            continue  # this wire cannot say it
    for one, other in itertools.combinations(wires, 2):
        same = on_the_wire(name, one) == on_the_wire(name, other)
        assert (key_of(name, one) == key_of(name, other)) is same
    return len({msgspec.json.encode(on_the_wire(name, wire)) for wire in wires})


@pytest.mark.parametrize("part", sorted(PARTS))
def test_so_does_a_change_within_a_part_of_a_message(part: str) -> None:
    role: Any = "assistant" if part in {"ToolCall", "Thinking", "Refusal", "ProviderPart"} else "user"
    # What belongs to one family alone is left out for all others.
    families: list[dict[str, Any]] = [{}, {"family": "openai-chat"}, {"family": "anthropic-messages"}]
    if all(field.name != "family" for field in msgspec.structs.fields(PARTS[part])):
        families = [{}]
    messages = [Message(role, (Text("before"), value)) for given in families for value in made(PARTS[part], **given)]
    requests = [ChatRequest((*CONVERSATION["messages"], message), max_tokens=10) for message in messages]
    found = {name: told_apart(name, requests) for name in CODECS}
    print(f"{part}: of {len(requests)} variants so many differ on the wire: {found}")
    assert max(found.values()) > 1, f"no change within {part} reaches any wire: how it is drawn proves nothing"


def test_so_does_a_change_of_a_message_as_a_whole() -> None:
    hints = get_type_hints(Message, None, vars(values))
    messages: list[Message] = []
    for field in msgspec.structs.fields(Message):
        if field.name != "content":  # its parts have a test of their own
            given: dict[str, Any] = {"role": "user", "content": (Text("hello"),)}
            messages += [Message(**{**given, field.name: value}) for value in drawn(hints[field.name])]
    requests = [ChatRequest((Message.user("Hi."), message), max_tokens=10) for message in messages]
    found = {name: told_apart(name, requests) for name in CODECS}
    assert found["openai"] > 4, f"roles and names: {found}"
    assert found["anthropic"] > 1, f"roles: {found}"


@pytest.mark.parametrize("field", [field.name for field in msgspec.structs.fields(Tool)])
def test_so_does_a_change_within_a_tool(field: str) -> None:
    given: dict[str, Any] = {"name": "weather", "description": "Tells it.", "parameters": TOOL}
    hints = get_type_hints(Tool, None, vars(values))
    tools = [Tool(**{**given, field: value}) for value in drawn(hints[field])]
    requests = [ChatRequest("Where?", tools=(tool,), max_tokens=10) for tool in tools]
    found = {name: told_apart(name, requests) for name in CODECS}
    assert max(found.values()) > 1, f"no change of {field} reaches any wire: how it is drawn proves nothing"


@pytest.mark.parametrize("name", sorted(CODECS))
def test_what_is_sent_to_somebody_else_does_not_split_the_cache(name: str) -> None:
    elsewhere = {"anthropic-messages" if "openai" in name else "openai-chat": {"new_field": 1}}
    plain, other = (
        encoded(name, ChatRequest(**CONVERSATION)),
        encoded(name, ChatRequest(**CONVERSATION, extra=elsewhere)),
    )
    assert key_of(name, plain) == key_of(name, other)


@pytest.mark.parametrize("name", sorted(CODECS))
def test_other_spellings_of_one_question_have_one_key(name: str) -> None:
    spelled: list[dict[str, Any]] = [
        {"messages": "hi", "stop": "x", "temperature": 0},
        {"messages": [{"role": "user", "content": "hi"}], "stop": ["x"], "temperature": 0.0},
        {"messages": [Message.user([Text("hi")])], "stop": ("x",), "temperature": -0.0},
    ]
    plain: dict[str, Any] = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
    tools: list[dict[str, Any]] = [{"type": "function", "function": plain}]
    turned: list[dict[str, Any]] = [
        {"function": {"parameters": {"properties": {}, "type": "object"}, **plain}, "type": "function"}
    ]
    requests = [ChatRequest(**one, tools=each) for one in spelled for each in (tools, turned)]
    assert len({key_of(name, encoded(name, request)) for request in requests}) == 1


@pytest.mark.parametrize("name", sorted(CODECS))
def test_another_tenant_another_key(name: str) -> None:
    wire = encoded(name, ChatRequest("hi"))
    tenants = ["a", "b", "", "a/b", "a\x00", "default", "Default"]
    assert len({key_of(name, wire, tenant) for tenant in tenants}) == len(tenants)
