"""What goes over the wire: requests written by hand must encode to the very bodies that were recorded."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from recorded import recordings

from penstock.errors import UnsendableRequestError
from penstock.types import (
    ChatRequest,
    Image,
    Message,
    OutputSchema,
    Part,
    ProviderPart,
    Refusal,
    Target,
    Text,
    Thinking,
    ThinkingLevel,
    Tool,
    ToolCall,
    ToolResult,
    WireRequest,
)
from penstock_providers.openai_chat import OpenAIChat, OpenAIChatOptions

RECORDED: dict[str, Any] = {
    exchange.name: exchange.request.body
    for exchange in recordings("openai-chat", "azure-openai-chat")
    if exchange.request is not None
}


def encoded(
    request: ChatRequest, target: Target, *, stream: bool = False, options: OpenAIChatOptions | None = None
) -> WireRequest:
    return OpenAIChat(options).encode(request, target, stream=stream, now=0.0)


def parsed(wire: WireRequest) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(wire.body)
    return made


def body(
    request: ChatRequest,
    model: str = "gpt-4o",
    *,
    stream: bool = False,
    params: dict[str, Any] | None = None,
    options: OpenAIChatOptions | None = None,
) -> dict[str, Any]:
    target = Target(name="t", provider="openai", model=model, params=params or {})
    return parsed(encoded(request, target, stream=stream, options=options))


@attrs.frozen(kw_only=True)
class Written:
    """A request written by hand for a recording. `params` holds the recorder's own oddities (`stream: false`)."""

    recording: str
    request: ChatRequest
    model: str
    stream: bool = False
    params: dict[str, Any] = attrs.field(factory=dict[str, Any])
    options: OpenAIChatOptions = OpenAIChatOptions()  # noqa: RUF009 - it is frozen


def typed(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


def city_of(what: str) -> dict[str, Any]:
    described = typed("string", description=f"The city to find the {what} for, e.g. 'London'")
    return typed("object", properties={"city": described}, required=["city"])


def two_numbers() -> dict[str, Any]:
    numbers = {"a": typed("integer", title="A"), "b": typed("integer", title="B")}
    return typed("object", properties=numbers, required=["a", "b"])


USER_INFO = Tool(
    "UserInfo",
    "Correctly extracted `UserInfo` with all the required parameters with correct types",
    typed(
        "object",
        properties={"name": typed("string", title="Name"), "age": typed("integer", title="Age")},
        required=["age", "name"],
    ),
)
FLORENCE = ToolCall.parse("call_tvEGAtC9EJdeiqYCz0S1vQST", "weather", '{"location":"Florence, Italy"}')
NEW_YORK = '{"city": "New York"}'
STUB = b"AAAA"  # what the recordings hold in the place of media

WRITTEN = [
    Written(
        recording="logfire--test_openai-test_sync_chat_completions_version_latest--0",
        model="gpt-4.1",
        request=ChatRequest("What is four plus five?", system="You are a helpful assistant."),
    ),
    Written(
        recording="mirascope--openai_gpt_5_mini_completions-stream--0",
        model="gpt-5-mini",
        request=ChatRequest("List all U.S. states.", max_tokens=50),
        stream=True,
    ),
    Written(
        recording="dd-trace-py--llama_index-llama_index_chat_error--0",
        model="gpt-4o-mini",
        request=ChatRequest("Hello", max_tokens=15, temperature=0.1),
        params={"stream": False},
    ),
    Written(
        recording="rig--error_identity_edge-chat_completions_validation_error_carries_identity--0",
        model="gpt-4o",
        request=ChatRequest("Never validated", temperature=99.0),
    ),
    Written(
        recording="openinference--test_tool_calls-test_tool_calls--0",
        model="gpt-4o-mini",
        request=ChatRequest(
            [
                Message.assistant(
                    [
                        ToolCall.parse("call_62136355", "get_weather", NEW_YORK),
                        ToolCall.parse("call_62136356", "get_population", NEW_YORK),
                    ]
                ),
                ToolResult("call_62136355", '{"city": "New York", "weather": "fine"}'),
                ToolResult("call_62136356", '{"city": "New York", "weather": "large"}'),
                Message.assistant("In New York the weather is fine and the population is large."),
                Message.user("What's the weather and population in San Francisco?"),
            ],
            tools=[
                Tool("get_weather", "finds the weather for a given city", city_of("weather")),
                Tool("get_population", "finds the population for a given city", city_of("population")),
            ],
        ),
    ),
    Written(
        recording="openinference--instructor-instructor_instrumentation--0",
        model="gpt-3.5-turbo",
        request=ChatRequest("John Doe is 30 years old.", tools=[USER_INFO], tool_choice="UserInfo"),
    ),
    Written(
        recording="magentic--test_prompt_function-test_decorator_return_parallel_function_call--0",
        model="gpt-4o",
        request=ChatRequest(
            "Sum 2 and 3. Also subtract 2 from 3.",
            tools=[Tool("plus", parameters=two_numbers()), Tool("minus", parameters=two_numbers())],
            tool_choice="required",
        ),
        stream=True,
    ),
    Written(
        recording="elastic-otel-python-instrumentations--penai-test_chat_stream_with_parallel_tools_and_capture_message_content--0",
        model="gpt-4o-mini",
        request=ChatRequest(
            "What is the weather in New York City and London?",
            system="You are a helpful assistant providing weather updates.",
            tools=[
                Tool(
                    "get_weather",
                    parameters=typed(
                        "object",
                        properties={"location": typed("string")},
                        required=["location"],
                        additionalProperties=False,
                    ),
                    strict=True,
                )
            ],
        ),
        stream=True,
        options=OpenAIChatOptions(stream_usage=False),
    ),
    Written(
        recording="magentic--test_prompt_function-test_decorator_ignore_multiple_tool_calls--0",
        model="gpt-4-1106-preview",
        request=ChatRequest(
            "Return the numbers 1 to 5 in the first tool call. And numbers 6 to 10 in the second.",
            tools=[
                Tool(
                    "return_list_of_int",
                    parameters=typed(
                        "object",
                        properties={"value": typed("array", items=typed("integer"), title="Value")},
                        required=["value"],
                    ),
                ),
                Tool(
                    "return_bool",
                    parameters=typed(
                        "object", properties={"value": typed("boolean", title="Value")}, required=["value"]
                    ),
                ),
            ],
            tool_choice="required",
            parallel_tool_calls=False,
        ),
        stream=True,
    ),
    Written(
        recording="activeagent--response_format_test-test_agent_response_json_schema_named--0",
        model="gpt-4o-mini",
        request=ChatRequest(
            "Return the three primary colors.",
            output=OutputSchema(
                typed(
                    "object",
                    properties={"colors": typed("array", items=typed("string"))},
                    required=["colors"],
                    additionalProperties=False,
                ),
                "primary_colors",
            ),
        ),
    ),
    Written(
        recording="fantasy--openai-gpt-4o-simple_object_streaming--0",
        model="gpt-4o",
        request=ChatRequest(
            "Generate information about a person named Alice who is 30 years old and lives in Paris.",
            max_tokens=4000,
            output=OutputSchema(
                typed(
                    "object",
                    properties={
                        "age": typed("integer", description="The person's age"),
                        "city": typed("string", description="The city where the person lives"),
                        "name": typed("string", description="The person's name"),
                    },
                    required=["name", "age", "city"],
                    additionalProperties=False,
                ),
                "Person",
            ),
            extra={
                "openai": {"response_format": {"json_schema": {"description": "A person with name, age, and city"}}}
            },
        ),
        stream=True,
    ),
    Written(
        recording="openllmetry--test_azure-test_chat_reasoning--0",
        model="gpt-5-nano",
        request=ChatRequest("Count r's in strawberry", thinking="low"),
    ),
    Written(
        recording="rig--truncated_turn_matrix-chat_blocking_gpt_5_1_budget_exhausted--0",
        model="gpt-5.1",
        request=ChatRequest("Write a 500 word essay about maple trees.", thinking="high", max_tokens=16),
    ),
    Written(
        recording="fantasy--azure-gpt-5-mini-thinking--1",
        model="gpt-5-mini",
        request=ChatRequest(
            [
                Message.user("What's the weather in Florence, Italy?"),
                Message.assistant([FLORENCE]),
                ToolResult(FLORENCE.id, "40 C"),
            ],
            system="You are a helpful assistant",
            thinking="high",
            tool_choice="auto",
            tools=[
                Tool(
                    "weather",
                    "Get weather information for a location",
                    typed(
                        "object",
                        properties={"location": typed("string", description="the city")},
                        required=["location"],
                    ),
                    strict=False,
                )
            ],
        ),
    ),
    Written(
        recording="openinference--ng-TestInputValueImageHiding.test_input_value_hides_regular_url_images--0",
        model="gpt-4o-mini",
        request=ChatRequest(
            [
                Message.user(
                    [Text("What's in this image?"), Image(url="https://example.com/test-image.jpg")],
                )
            ]
        ),
    ),
    Written(
        recording="chatlas--test_provider_openai_completions-test_openai_images--0",
        model="gpt-5.4",
        request=ChatRequest(
            [Message.user([Text("What's in this image?"), Image(data=STUB, media_type="image/png")])], seed=1014
        ),
        stream=True,
    ),
    Written(
        recording="rig--chat_streaming_logprobs_matrix-streaming_gpt_4o_mini_length_top_absent--0",
        model="gpt-4o-mini",
        request=ChatRequest(
            "Write the English alphabet in order without spaces.",
            max_tokens=1,
            extra={"openai-chat": {"logprobs": True}},
        ),
        stream=True,
    ),
    Written(
        recording="activeagent--native_format_test-test_agent_web_search--0",
        model="gpt-4o-search-preview",
        request=ChatRequest("What was a positive news story from today?", extra={"openai": {"web_search_options": {}}}),
    ),
    Written(
        recording="langchaingo--testdata-TestClient_FunctionCall--0",
        model="gpt-3.5-turbo",
        request=ChatRequest(
            "What's the weather like in Boston?",
            max_tokens=100,
            temperature=0,
            extra={
                "openai": {
                    "functions": [
                        {
                            "name": "get_weather",
                            "description": "Get the weather for a location",
                            "parameters": typed(
                                "object",
                                properties={"location": typed("string", description="The location to get weather for")},
                                required=["location"],
                            ),
                        }
                    ]
                }
            },
        ),
        options=OpenAIChatOptions(max_tokens_field="max_completion_tokens"),
    ),
    Written(
        recording="dd-trace-py--v1-azure_chat_completion--0",
        model="gpt-35-turbo",
        request=ChatRequest("What's the weather like in NYC right now?", max_tokens=20, temperature=0),
        params={"n": 1, "user": "ddtrace-test"},
    ),
    Written(
        recording="ellmer--_vcr-openai-pdf--1",
        model="gpt-4.1-nano",
        request=ChatRequest(
            [
                Message.user(
                    [
                        Text("What's the title of this document?"),
                        ProviderPart(
                            "openai-chat",
                            typed(
                                "file",
                                file={"filename": "apples.pdf", "file_data": "data:application/pdf;base64,QUFBQQ=="},
                            ),
                        ),
                    ]
                ),
                Message.assistant(
                    [
                        ProviderPart(
                            "openai-chat", typed("text", text='The title of the document is "Apples are tasty."')
                        )
                    ]
                ),
                Message.user([ProviderPart("openai-chat", typed("text", text="What apple is not tasty?"))]),
            ],
            system="Be terse.",
            seed=1014,
            temperature=0,
        ),
        params={"stream": False},
    ),
]


@pytest.mark.parametrize("written", WRITTEN, ids=[written.recording for written in WRITTEN])
def test_a_request_written_by_hand_encodes_to_the_recorded_body(written: Written) -> None:
    made = body(written.request, written.model, stream=written.stream, params=written.params, options=written.options)
    assert made == RECORDED[written.recording]


def test_json_mode_and_other_providers_extras_go_through_extra_alone() -> None:
    extra: dict[str, dict[str, Any]] = {
        "openai": {"response_format": {"type": "json_object"}},
        "anthropic": {"top_k": 5},
        "other": {"x": 1},
    }
    made = body(ChatRequest("-", extra=extra))
    assert made["response_format"] == {"type": "json_object"}
    assert made.keys() == {"model", "messages", "response_format"}


@pytest.mark.parametrize("said", [True, False, None])
@pytest.mark.parametrize("where", ["params", "extra"])
def test_whether_to_stream_is_for_the_call_alone_to_say(where: str, said: bool | None) -> None:  # noqa: FBT001 - a case
    fields = {"stream": said, "stream_options": {"include_usage": True}, "seed": 3}
    request = ChatRequest("-", extra={"openai": fields} if where == "extra" else {})
    params = fields if where == "params" else {}
    streamed, whole = (body(request, stream=stream, params=params) for stream in (True, False))
    assert streamed["stream"] is True
    assert not whole.get("stream")
    assert said is not True or "stream_options" not in whole
    assert streamed["seed"] == whole["seed"] == 3


def test_the_most_particular_extra_wins_and_tools_are_appended() -> None:
    tool = Tool("add", parameters=typed("object"))
    custom = typed("custom", custom={"name": "shell"})
    request = ChatRequest(
        "-",
        tools=[tool],
        temperature=0.5,
        extra={
            "local": {"temperature": 0.1, "tools": [custom]},
            "openai": {"temperature": 0.2},
            "openai-chat": {"temperature": 0.3, "min_p": 0.1},
        },
    )
    target = Target(name="t", provider="local", model="m", params={"temperature": 1.5, "top_p": 0.9})
    made = parsed(encoded(request, target))
    assert (made["temperature"], made["top_p"], made["min_p"]) == (0.1, 0.9, 0.1)
    assert made["tools"] == [
        {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},
        custom,
    ]


def test_neither_request_nor_target_is_changed_by_encoding() -> None:
    extra = {"openai": {"metadata": {"a": 1}, "tools": [typed("custom", custom={"name": "shell"})]}}
    params: dict[str, Any] = {"metadata": {"b": 2}, "tools": [typed("function", function={"name": "f"})]}
    request = ChatRequest("-", extra=extra)
    before = json.dumps([extra, params])
    assert body(request, params=params) == body(request, params=params)
    assert json.dumps([extra, params]) == before


def test_the_requests_limit_replaces_the_targets_under_either_name() -> None:
    params = {"max_tokens": 100}
    assert body(ChatRequest("-", max_tokens=5), "gpt-4o", params=params)["max_tokens"] == 5
    made = body(ChatRequest("-", max_tokens=5), "o3-mini", params=params)
    assert (made.get("max_tokens"), made["max_completion_tokens"]) == (None, 5)
    assert body(ChatRequest("-"), "o3-mini", params=params)["max_tokens"] == 100


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("gpt-4o", "max_tokens"),
        ("gpt-4.1-mini-2025-04-14", "max_tokens"),
        ("gpt-5-chat-latest", "max_tokens"),
        ("llama-3.3-70b", "max_tokens"),
        ("gpt-oss-120b", "max_tokens"),
        ("o1", "max_completion_tokens"),
        ("o3-mini-2025-01-31", "max_completion_tokens"),
        ("o4-mini", "max_completion_tokens"),
        ("gpt-5", "max_completion_tokens"),
        ("gpt-5.6-sol", "max_completion_tokens"),
        ("gpt-7.1-nova", "max_completion_tokens"),
        ("openai/gpt-5-nano", "max_completion_tokens"),
        ("ft:o4-mini-2025-04-16:org::id", "max_completion_tokens"),
    ],
)
def test_reasoning_models_are_limited_by_their_own_field(model: str, field: str) -> None:
    made = body(ChatRequest("-", max_tokens=7), model)
    assert {name: made.get(name) for name in ("max_tokens", "max_completion_tokens")} == {
        "max_tokens": None,
        "max_completion_tokens": None,
        field: 7,
    }


@pytest.mark.parametrize(
    ("model", "thinking", "effort"),
    [
        ("gpt-5", "low", "low"),
        ("gpt-5", "off", "minimal"),
        ("gpt-5.1", "off", "none"),
        ("o3", "off", "low"),
        ("o3", "medium", "medium"),
        ("o3", 1_024, "low"),
        ("o3", 8_000, "medium"),
        ("o3", 30_000, "high"),
        ("gpt-4o", "high", None),
        ("qwen3-32b", "high", "high"),
        ("qwen3-32b", "off", None),
        ("gpt-5", None, None),
    ],
)
def test_thinking_becomes_an_effort_where_the_model_thinks(
    model: str, thinking: ThinkingLevel | int | None, effort: str | None
) -> None:
    assert body(ChatRequest("-", thinking=thinking), model).get("reasoning_effort") == effort


def test_what_reasoning_models_reject_is_left_out() -> None:
    request = ChatRequest("-", temperature=0, top_p=0.5, stop="END", seed=1)
    assert body(request, "gpt-5").keys() == {"model", "messages", "seed"}
    assert body(request, "o3").keys() == {"model", "messages", "seed"}
    assert body(request, "o1").keys() == {"model", "messages", "stop", "seed"}
    assert body(request, "gpt-5.1").keys() == {"model", "messages", "temperature", "top_p", "seed"}
    assert body(request, "gpt-4o").keys() == {"model", "messages", "temperature", "top_p", "stop", "seed"}
    assert body(ChatRequest("-", temperature=1), "gpt-5")["temperature"] == 1


def test_several_system_messages_stay_where_they_stand() -> None:
    request = ChatRequest([Message.system("a"), Message.user("b"), Message.system("c")], system="first")
    assert [(m["role"], m["content"]) for m in body(request)["messages"]] == [
        ("system", "first"),
        ("system", "a"),
        ("user", "b"),
        ("system", "c"),
    ]


def test_tool_results_directly_follow_their_calls() -> None:
    """Whatever stands beside them in the user's message comes after them."""
    call = ToolCall("1", "f", {"x": 1})
    request = ChatRequest(
        [
            Message.user("go"),
            Message.assistant([Text("wait"), call]),
            Message.user([Text("and hurry"), ToolResult("1", "done")]),
        ]
    )
    assert body(request)["messages"][1:] == [
        {
            "role": "assistant",
            "content": "wait",
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "done"},
        {"role": "user", "content": "and hurry"},
    ]


def spoken(*messages: Message | ToolResult) -> list[tuple[str, str]]:
    """Who says what in the body, with the ids of calls and results."""
    said = body(ChatRequest([Message.user("q"), *messages]))["messages"][1:]
    return [
        (
            message["role"],
            "+".join(each["id"] for each in message.get("tool_calls", ()))
            or message.get("tool_call_id")
            or message["content"],
        )
        for message in said
    ]


A_CALL, B_CALL = ToolCall("a", "f"), ToolCall("b", "f")


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        (
            [Message.assistant([A_CALL, B_CALL]), Message.user("wait"), ToolResult("a", "1"), ToolResult("b", "2")],
            [("assistant", "a+b"), ("tool", "a"), ("tool", "b"), ("user", "wait")],
        ),
        (
            [Message.assistant([A_CALL, B_CALL]), ToolResult("b", "2"), Message.user("wait"), ToolResult("a", "1")],
            [("assistant", "a+b"), ("tool", "a"), ("tool", "b"), ("user", "wait")],
        ),
        (
            [Message.assistant([A_CALL]), Message.system("be brief"), Message.user([ToolResult("a", "1"), Text("so")])],
            [("assistant", "a"), ("tool", "a"), ("system", "be brief"), ("user", "so")],
        ),
        (
            [Message.assistant([A_CALL]), Message.assistant([B_CALL]), ToolResult("a", "1"), ToolResult("b", "2")],
            [("assistant", "a"), ("tool", "a"), ("assistant", "b"), ("tool", "b")],
        ),
        (
            [Message.assistant([A_CALL]), ToolResult("a", "1"), Message.assistant([A_CALL]), ToolResult("a", "2")],
            [("assistant", "a"), ("tool", "a"), ("assistant", "a"), ("tool", "a")],
        ),
        (
            [Message.assistant([A_CALL]), ToolResult("a", "1"), Message.assistant([B_CALL]), ToolResult("a", "late")],
            [("assistant", "a"), ("tool", "a"), ("assistant", "b"), ("tool", "a")],
        ),
    ],
)
def test_results_follow_their_calls_over_what_other_wires_let_stand_between(
    messages: list[Message | ToolResult], said: list[tuple[str, str]]
) -> None:
    """Anthropic's wire merges such turns; OpenAI answers 400 to a call that is not answered at once."""
    assert spoken(*messages) == said


def test_an_id_too_long_for_openai_is_shortened_alike_in_call_and_result() -> None:
    long, other = "chatcmpl-tool-1b4c179a4d8c4d49b484d3a35f47ff3f", "chatcmpl-tool-1b4c179a4d8c4d49b484d3a35f47ff40"
    calls = [ToolCall(long, "f"), ToolCall(other, "f"), ToolCall("x" * 40, "f")]
    turns: list[Message | ToolResult] = [Message.user("-"), Message.assistant(calls), ToolResult(long, "1")]
    _, assistant, result = body(ChatRequest(turns))["messages"]
    sent = [call["id"] for call in assistant["tool_calls"]]
    assert len(set(sent)) == 3
    assert all(len(id) <= 40 for id in sent)
    assert sent[2] == "x" * 40
    assert result["tool_call_id"] == sent[0]


def test_names_custom_calls_refusals_and_details_are_said() -> None:
    custom = ToolCall("1", "shell", raw_arguments="ls -l", kind="custom")
    request = ChatRequest(
        [
            Message("user", "hi", "ann"),
            Message.assistant([Refusal("no")]),
            Message.assistant([custom]),
            ToolResult("1", "ok"),
            Message.user([Image(url="https://a/b.png", detail="low")]),
        ]
    )
    assert body(request)["messages"] == [
        {"role": "user", "content": "hi", "name": "ann"},
        {"role": "assistant", "content": None, "refusal": "no"},
        {
            "role": "assistant",
            "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "shell", "input": "ls -l"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "ok"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "low"}}]},
    ]


def test_parts_of_another_wire_are_left_out() -> None:
    foreign: list[Part] = [
        Thinking("hm", signature="s", family="anthropic-messages"),
        ProviderPart("anthropic-messages", typed("server_tool_use")),
    ]
    request = ChatRequest([Message.user("a"), Message.assistant([*foreign, Text("b")]), Message.user("c")])
    local = OpenAIChatOptions(base_url="http://127.0.0.1:8080/v1")
    for options in (OpenAIChatOptions(), local):
        assert body(request, options=options)["messages"][1] == {"role": "assistant", "content": "b"}


@pytest.mark.parametrize(
    ("thinking", "fields"),
    [
        (Thinking("hm", family="openai-chat"), {"reasoning_content": "hm"}),
        (Thinking("hm", family="openai-chat", details=({"field": "reasoning"},)), {"reasoning": "hm"}),
        (
            Thinking("", family="openai-chat", details=(typed("reasoning.encrypted", data="x", index=0),)),
            {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x", "index": 0}]},
        ),
    ],
)
def test_reasoning_goes_back_as_it_came_but_never_to_openai(thinking: Thinking, fields: dict[str, Any]) -> None:
    request = ChatRequest([Message.user("a"), Message.assistant([thinking, Text("b")]), Message.user("c")])
    local = OpenAIChatOptions(base_url="http://127.0.0.1:8080/v1")
    said = {"role": "assistant", "content": "b"}
    assert body(request, options=local)["messages"][1] == said | fields
    assert body(request)["messages"][1] == said
    assert body(request, options=OpenAIChatOptions(azure=True, base_url="https://x.example"))["messages"][1] == said


def test_images_in_tool_results_are_shown_by_the_user_after_the_last_result() -> None:
    image, other = Image(url="https://a/b.png"), Image(url="https://a/c.png")
    calls = Message.assistant([ToolCall("1", "f"), ToolCall("2", "f")])
    results: list[Message | ToolResult] = [ToolResult("1", [Text("see"), image]), ToolResult("2", [other])]

    def shown(*after: Message) -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = body(ChatRequest([Message.user("q"), calls, *results, *after]))["messages"]
        return sent[2:]

    answers = [
        {"role": "tool", "tool_call_id": "1", "content": "see"},
        {"role": "tool", "tool_call_id": "2", "content": ""},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What tool call 1 shows:"},
                {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
                {"type": "text", "text": "What tool call 2 shows:"},
                {"type": "image_url", "image_url": {"url": "https://a/c.png"}},
            ],
        },
    ]
    assert shown() == answers
    assert shown(Message.user("and?")) == [*answers, {"role": "user", "content": "and?"}]
    assert shown(Message.assistant("so")) == [*answers, {"role": "assistant", "content": "so"}]


def test_what_this_wire_cannot_say_is_refused_before_it_is_sent() -> None:
    with pytest.raises(UnsendableRequestError, match="only assistant messages"):
        body(ChatRequest([Message.user([ToolCall("1", "f")])]))


class NotJson:
    pass


@pytest.mark.parametrize(
    "request_",
    [
        ChatRequest("secret \ud800"),
        ChatRequest("secret", extra={"openai": {"metadata": NotJson()}}),
        ChatRequest("secret", extra={"openai": {"metadata": {NotJson(): 1}}}),
    ],
)
def test_what_json_cannot_carry_is_refused_without_being_shown(request_: ChatRequest) -> None:
    target = Target(name="t", provider="openai", model="gpt-4o")
    with pytest.raises(UnsendableRequestError) as encoding:
        encoded(request_, target)
    with pytest.raises(UnsendableRequestError) as bounding:
        OpenAIChat().input_bound(ChatRequest(request_.messages, extra=bounded(request_)), target)
    for caught in (encoding, bounding):
        assert "secret" not in str(caught.value)
        assert "secret" not in repr(caught.value.__cause__)


def bounded(request: ChatRequest) -> dict[str, dict[str, Any]]:
    """The same oddities in a field whose text reaches the prompt, so that the bound must look at it."""
    return {"openai": {"prediction": request.extra.get("openai", {}).get("metadata")}}


@pytest.mark.parametrize(
    ("options", "url"),
    [
        (OpenAIChatOptions(), "https://api.openai.com/v1/chat/completions"),
        (OpenAIChatOptions(base_url="http://[::1]:8080/v1/"), "http://[::1]:8080/v1/chat/completions"),
        (
            OpenAIChatOptions(base_url="https://r.openai.azure.com/", azure=True, api_version="2024-02-01"),
            "https://r.openai.azure.com/openai/deployments/my%20gpt/chat/completions?api-version=2024-02-01",
        ),
        (
            OpenAIChatOptions(base_url="https://r.openai.azure.com", azure=True),
            "https://r.openai.azure.com/openai/v1/chat/completions",
        ),
        (
            OpenAIChatOptions(base_url="https://r.openai.azure.com/openai/v1", azure=True),
            "https://r.openai.azure.com/openai/v1/chat/completions",
        ),
        (
            OpenAIChatOptions(
                base_url="https://r.services.ai.azure.com/models", api_version="2024-05-01-preview", auth="api-key"
            ),
            "https://r.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview",
        ),
    ],
)
def test_every_style_of_server_is_posted_to(options: OpenAIChatOptions, url: str) -> None:
    wire = encoded(ChatRequest("-"), Target(name="t", provider="p", model="my gpt"), options=options)
    assert (wire.method, wire.url) == ("POST", url)


@pytest.mark.parametrize(
    "base_url",
    ["", "api.openai.com", "ftp://a", "https://", "https://user:pw@host/v1", "https://a/v1?key=1", "http:///x"],
)
def test_a_base_url_that_is_none_is_refused(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url must"):
        OpenAIChatOptions(base_url=base_url)


def test_headers_name_the_organization_and_the_targets_own_win() -> None:
    options = OpenAIChatOptions(organization="org", project="proj")
    target = Target(name="t", provider="p", model="m", headers=(("OpenAI-Beta", "x"), ("openai-project", "mine")))
    headers = dict(encoded(ChatRequest("-"), target, options=options).headers)
    assert headers == {
        "content-type": "application/json",
        "accept": "application/json",
        "openai-organization": "org",
        "openai-project": "mine",
        "openai-beta": "x",
    }
    assert dict(encoded(ChatRequest("-"), target, stream=True).headers)["accept"] == "text/event-stream"


def test_the_credential_is_added_by_authorize_alone() -> None:
    target = Target(name="t", provider="p", model="m")
    wire = encoded(ChatRequest("-"), target)
    bearer = OpenAIChat().authorize(wire, "sk-1", now=0.0)
    assert dict(bearer.headers)["authorization"] == "Bearer sk-1"
    azure = OpenAIChat(OpenAIChatOptions(azure=True, base_url="https://r.example")).authorize(wire, "k", now=0.0)
    assert dict(azure.headers)["api-key"] == "k"
    assert "authorization" not in dict(azure.headers)
    entra = OpenAIChatOptions(azure=True, base_url="https://r.example", auth="bearer")
    assert dict(OpenAIChat(entra).authorize(wire, "k", now=0.0).headers)["authorization"] == "Bearer k"
    assert OpenAIChat().authorize(wire, None, now=0.0) == wire
    again = OpenAIChat().authorize(bearer, "sk-2", now=0.0)
    assert [value for name, value in again.headers if name == "authorization"] == ["Bearer sk-2"]
    assert (bearer.url, bearer.body) == (wire.url, wire.body)
    assert "sk-1" not in repr(bearer)


def test_without_tools_nothing_is_said_of_how_to_use_them() -> None:
    """OpenAI answers 400: "'tool_choice' is only allowed when 'tools' are specified"; parallel_tool_calls likewise."""
    codec, target = OpenAIChat(), Target(name="t", provider="openai", model="gpt-4o")
    idle = ChatRequest("q", tool_choice="none", parallel_tool_calls=False)
    assert not body(idle).keys() & {"tools", "tool_choice", "parallel_tool_calls"}
    assert codec.unsupported(idle, target) == frozenset()
    assert codec.unsupported(ChatRequest("q", tool_choice="required"), target) == {"tool_choice"}
    tools = {"tools": [{"type": "function", "function": {"name": "f"}}]}
    given = body(ChatRequest("q", tool_choice="required", parallel_tool_calls=False, extra={"openai": tools}))
    assert (given["tool_choice"], given["parallel_tool_calls"]) == ("required", False)
    assert body(idle, params=tools)["tool_choice"] == "none"


@pytest.mark.parametrize(
    ("said", "told"),
    [("no such city", "Error: no such city"), ("", "Error"), ("Error 404", "Error 404"), (" error: x", " error: x")],
)
def test_a_result_says_that_its_tool_failed(said: str, told: str) -> None:
    target = Target(name="t", provider="openai", model="gpt-4o")
    for failed in (True, False):
        result = ToolResult("c1", said, is_error=failed)
        request = ChatRequest([Message.user("q"), Message.assistant([ToolCall("c1", "f", {})]), result])
        (*_, sent) = json.loads(OpenAIChat().encode(request, target, stream=False, now=0.0).body)["messages"]
        assert sent["content"] == (told if failed else said)
        assert OpenAIChat().adapted(request, target) == ({"tool_errors_in_words"} if failed else set())


def test_the_limits_of_a_model_are_those_of_who_is_known_to_serve_it() -> None:
    """A server of one's own may call its model gpt-4; what a request to it costs is not bounded by OpenAI's window."""
    target = Target(name="t", provider="local", model="gpt-4")
    own = OpenAIChat(OpenAIChatOptions(base_url="http://127.0.0.1:8080/v1"))
    assert (OpenAIChat().capabilities("gpt-4").max_output, own.capabilities("gpt-4").max_output) == (8_192, None)
    long = ChatRequest("x" * 100_000)
    assert OpenAIChat().input_bound(long, target) == 8_192
    assert (own.input_bound(long, target) or 0) > 100_000
    assert (OpenAIChat().output_bound(ChatRequest("q"), target), own.output_bound(ChatRequest("q"), target)) == (
        8_192,
        None,
    )
