"""What was asked and answered: in traces only where somebody asked for it, redacted, and no longer than allowed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
import trio
from acme import PanicException
from collector import Collector, GotSpan, collecting
from hypothesis import given
from hypothesis import strategies as st
from worlds import ANSWER, config, good

import penstock
from penstock import ChatRequest, Image, Message, Text, Thinking, Tool, ToolCall, ToolResult
from penstock.telemetry import _names as n
from penstock.telemetry._content import Capture
from penstock.telemetry._redaction import NOT_CAPTURED
from penstock.testing import ScriptedTransport

QUESTION = "what is the canary's name?"


class Redactor:
    """A plugin."""

    def __init__(self, redact: Any) -> None:
        self._redact = redact

    @penstock.hookimpl
    def penstock_redact(self, text: str) -> Any:
        return self._redact(text)


def replacing(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new)


def returns_nothing(_: str) -> None:
    """No text."""


def raises(text: str) -> str:
    raise ValueError(text)


def exits(text: str) -> str:
    raise SystemExit(text)


def panics(text: str) -> str:
    raise PanicException(text)


def captured(*plugins: object, calls: int = 1, **telemetry: Any) -> list[GotSpan]:
    """The spans of a call, or more of the same, with content."""

    async def run(collector: Collector) -> None:
        settings = config(telemetry={"otlp": collector.url, "metrics": False, **telemetry}, cache={"store": "memory"})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good), plugins=plugins) as kernel:
            for _ in range(calls):
                await kernel.complete(QUESTION, system="be brief", temperature=0)

    with collecting() as collector:
        trio.run(run, collector)
        return collector.spans


def one_with_content(spans: list[GotSpan]) -> dict[str, Any]:
    (attributes,) = [span.attributes for span in spans if n.INPUT_MESSAGES in span.attributes]
    return attributes


def test_there_is_none_unless_it_is_asked_for() -> None:
    told = b"".join(span.span.SerializeToString() for span in captured())
    assert QUESTION.encode() not in told
    assert ANSWER.encode() not in told
    assert b"be brief" not in told


def test_what_is_asked_for_stands_in_the_span_of_the_exchange() -> None:
    attributes = one_with_content(captured(capture_content=True))
    assert attributes["gen_ai.operation.name"] == "chat"
    assert json.loads(attributes[n.INPUT_MESSAGES]) == [
        {"role": "user", "parts": [{"type": "text", "content": QUESTION}]}
    ]
    assert json.loads(attributes[n.SYSTEM_INSTRUCTIONS]) == [{"type": "text", "content": "be brief"}]
    assert json.loads(attributes[n.OUTPUT_MESSAGES]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": ANSWER}], "finish_reason": "stop"}
    ]


def test_an_answer_out_of_the_cache_stands_in_the_span_of_the_call_for_there_is_no_other() -> None:
    spans = captured(capture_content=True, calls=2)
    (hit,) = [span for span in spans if span.attributes.get(n.CACHE) == "hit"]
    assert ANSWER in hit.attributes[n.OUTPUT_MESSAGES]


def test_a_variable_asks_for_it_where_no_table_has_a_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")

    async def run(url: str, **tables: Any) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        async with penstock.open_kernel(config(**tables), transport=ScriptedTransport(good)) as kernel:
            await kernel.complete(QUESTION)

    with collecting() as collector:
        trio.run(run, collector.url)
        assert one_with_content(collector.spans)
    with collecting() as collector:
        trio.run(lambda: run(collector.url, telemetry={"capture_content": False}))
        assert [span for span in collector.spans if n.INPUT_MESSAGES in span.attributes] == []


def test_every_text_is_redacted_by_one_plugin_after_the_other() -> None:
    twice = (Redactor(replacing("canary", "***")), Redactor(replacing("***", "bird")))
    attributes = one_with_content(captured(*twice[::-1], capture_content=True))
    assert "canary" not in str(attributes)
    assert "what is the bird's name?" in attributes[n.INPUT_MESSAGES]


@pytest.mark.parametrize("broken", [returns_nothing, raises, exits, panics])
def test_where_redacting_fails_nothing_of_the_text_goes_out(broken: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "penstock"):
        attributes = one_with_content(captured(Redactor(broken), capture_content=True))
    assert QUESTION not in str(attributes)
    assert json.loads(attributes[n.INPUT_MESSAGES])[0]["parts"][0]["content"] == NOT_CAPTURED
    assert "canary" not in caplog.text
    assert caplog.text.count("penstock_redact") == 1


def test_half_a_secret_never_goes_out_because_the_text_was_cut_before_it_was_redacted() -> None:
    capture = Capture(lambda text: text.replace("secret-key", "[key]"), limit=110)
    told = capture.asked(ChatRequest(f"{'x' * 40} secret-key and more{'y' * 40}"))
    assert "secret" not in str(told)
    assert f"{'x' * 12}[" in str(told[n.INPUT_MESSAGES])
    assert told[n.CONTENT_CUT] is True


TEXTS = st.text(max_size=200)
PARTS = st.one_of(
    st.builds(Text, TEXTS.filter(bool)),
    st.builds(ToolCall, TEXTS.filter(bool), TEXTS.filter(bool), st.dictionaries(TEXTS, TEXTS, max_size=2)),
    st.builds(ToolResult, TEXTS.filter(bool), TEXTS),
    st.builds(Thinking, TEXTS),
)
MESSAGES = st.builds(Message, st.sampled_from(["user", "assistant", "system"]), st.lists(PARTS, min_size=1, max_size=3))


@given(st.lists(MESSAGES, min_size=1, max_size=4), TEXTS, st.integers(1, 800))
def test_no_attribute_is_longer_than_allowed_whatever_is_long_and_all_of_them_are_json(
    messages: list[Message], reason: str, limit: int
) -> None:
    capture = Capture(lambda text: text, limit)
    for told in (capture.asked(ChatRequest(messages)), capture.answered(messages[-1], reason)):
        whole = told.pop(n.CONTENT_CUT, False) is False
        for name, value in told.items():
            assert len(str(value)) <= limit, name
            assert isinstance(json.loads(str(value)), list)
        if whole:
            shown = str(json.loads(str(told.get(n.INPUT_MESSAGES, told.get(n.OUTPUT_MESSAGES)))))
            assert "more characters]" not in shown or "more characters]" in str(messages)


def test_ten_thousand_short_messages_are_no_more_than_one_long_one() -> None:
    roles = ("user", "assistant")
    messages = [Message(roles[number % 2], "m") for number in range(10_001)]  # type: ignore[arg-type]  # both are roles
    told = Capture(lambda text: text, 8_192).asked(ChatRequest(messages))
    assert 8_000 < len(str(told[n.INPUT_MESSAGES])) <= 8_192
    assert told[n.CONTENT_CUT] is True


def test_ids_of_tool_calls_and_finish_reasons_are_redacted_and_short() -> None:
    capture = Capture(replacing("canary", "***"), 8_192)
    call = ToolCall("canary" + "x" * 5_000, "canary", {"canary": "canary"})
    told = capture.answered(Message.assistant([call]), "canary" + "y" * 5_000)
    assert "canary" not in str(told)
    assert len(str(told[n.OUTPUT_MESSAGES])) < 1_000
    (answer,) = json.loads(str(told[n.OUTPUT_MESSAGES]))
    assert answer["finish_reason"].startswith("***yyy")


def test_images_tools_and_their_results_are_told_without_their_bytes() -> None:
    call = ToolCall("call-1", "weather", {"city": "Ulm"})
    request = ChatRequest(
        [
            Message.user([Image(data=b"\x00pixels", media_type="image/png"), Image(url="https://x.test/y.png")]),
            Message.assistant([call]),
            ToolResult("call-1", "rain"),
        ],
        tools=[Tool("weather", "Tells it.", {"type": "object"})],
    )
    told = Capture(lambda text: text, 1_000).asked(request)
    first, second, third = json.loads(str(told[n.INPUT_MESSAGES]))
    assert first["parts"] == [
        {"type": "image", "mime_type": "image/png", "bytes": 7},
        {"type": "uri", "modality": "image", "uri": "https://x.test/y.png"},
    ]
    assert second["parts"] == [{"type": "tool_call", "id": "call-1", "name": "weather", "arguments": '{"city":"Ulm"}'}]
    rain = [{"type": "text", "content": "rain"}]
    assert third == {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call-1", "response": rain}]}
    assert "pixels" not in str(told)
    assert json.loads(str(told[n.TOOL_DEFINITIONS]))[0]["name"] == "weather"
