"""What a codec returns is looked into: a field of another kind is the codec's fault, and the next target is asked.

A server that answers null where a text is due is enough for one. Nothing of it may reach a caller, or break a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import httpx
import pytest
from acme import PROMPT, THEIRS, acme, ask, raising, settings
from worlds import ANSWER, GPT, good, run

import penstock
from penstock import errors
from penstock.testing import Reply, ScriptedTransport
from penstock.types import (
    Capabilities,
    Chunk,
    Completion,
    Message,
    Part,
    ProviderPart,
    Refusal,
    Restarted,
    SchemaLimits,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    WireRequest,
)

LIMITED = {"budget": {"limits": [{"per": "day", "tokens": 1_000_000}]}}
WRONG = cast("Any", None)
NUMBER = cast("Any", 7)


def answer(*parts: Part, **fields: Any) -> Completion:
    told: dict[str, Any] = {"message": Message.assistant(parts), "finish_reason": "stop", **fields}
    return Completion(**told)


COMPLETIONS: dict[str, Completion] = {
    "text": answer(Text(WRONG)),
    "text beside others": answer(Text("fine"), Text(WRONG)),
    "citations": answer(Text("fine", citations=WRONG), Text("")),
    "thinking": answer(Thinking(WRONG), Text("fine")),
    "signature": answer(Thinking("", signature=NUMBER), Text("fine")),
    "refusal": answer(Refusal(WRONG)),
    "id of a call": answer(ToolCall(WRONG, "name")),
    "name of a call": answer(ToolCall("id", NUMBER)),
    "arguments of a call": answer(ToolCall("id", "name", WRONG)),
    "part of a provider": answer(ProviderPart("acme", WRONG)),
    "finish_reason": answer(Text("fine"), finish_reason=NUMBER),
    "no finish_reason": answer(Text("fine"), finish_reason=None),
    "model": answer(Text("fine"), model=NUMBER),
    "id": answer(Text("fine"), id=NUMBER),
    "request_id": answer(Text("fine"), request_id=NUMBER),
    "message": answer(message="fine"),
    "role": answer(message=Message(NUMBER, "fine")),
    "another role": answer(message=Message.user("fine")),
}
either_way = pytest.mark.parametrize("streamed", [False, True], ids=["complete", "stream"])


@either_way
@pytest.mark.parametrize("name", COMPLETIONS)
def test_an_answer_with_a_field_of_another_kind_is_the_codecs_fault(name: str, streamed: bool) -> None:  # noqa: FBT001 - a parameter of the test
    def no_chunks() -> list[Chunk]:
        return []

    async def main() -> None:
        told = COMPLETIONS[name]
        plugin = acme(decode=lambda: told, feed=no_chunks, close=no_chunks, completion=lambda: told)
        async with penstock.open_kernel(
            settings(**LIMITED), transport=ScriptedTransport(good), plugins=[plugin]
        ) as kernel:
            response = await ask(kernel, streamed=streamed)
            assert (response.text, response.target) == (ANSWER, GPT)
            assert [attempt.outcome for attempt in response.attempts] == ["codec", "ok"]
            assert (await kernel.snapshot()).accounts[""].windows[0].held.tokens == 0

    run(main)


@either_way
def test_no_answer_is_lost_to_a_null_for_its_name_or_the_model(streamed: bool) -> None:  # noqa: FBT001 - as above
    def no_chunks() -> list[Chunk]:
        return []

    async def main() -> None:
        told = answer(Text("fine"), model=None, id=None)
        plugin = acme(decode=lambda: told, feed=no_chunks, close=no_chunks, completion=lambda: told)
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            response = await ask(kernel, streamed=streamed)
            assert (response.text, response.target, response.model, response.id) == ("fine", THEIRS, "m", "")

    run(main)


CHUNKS: dict[str, Chunk] = {
    "text": TextDelta(WRONG),
    "bytes": TextDelta(cast("Any", b"bytes")),
    "thinking": ThinkingDelta(WRONG),
    "arguments": ToolCallDelta(0, "id", "name", WRONG),
    "index": ToolCallDelta(cast("Any", "0"), "id", "name"),
    "id": ToolCallDelta(0, NUMBER, "name"),
    "name": ToolCallDelta(0, "id", NUMBER),
    "a text": cast("Chunk", "text"),
    "nothing": WRONG,
    "what is the kernel's to say": Restarted("acme"),
}


@pytest.mark.parametrize("name", CHUNKS)
@pytest.mark.parametrize("method", ["feed", "close"])
def test_a_chunk_with_a_field_of_another_kind_is_the_codecs_fault(method: str, name: str) -> None:
    async def main() -> None:
        plugin = acme(**{"feed": list[Chunk], method: lambda: [CHUNKS[name]]})
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            response = await ask(kernel, streamed=True)
            assert (response.text, response.target) == (ANSWER, GPT)
            assert [attempt.outcome for attempt in response.attempts] == ["codec", "ok"]

    run(main)


URL = "https://acme.example/v1"
WIRES: dict[str, WireRequest] = {
    "a number in a header": WireRequest("POST", URL, (("x-count", NUMBER),), b"{}"),
    "a header without a name": WireRequest("POST", URL, ((WRONG, "x"),), b"{}"),
    "a header that is no pair": WireRequest("POST", URL, cast("Any", (("x-count",),)), b"{}"),
    "no headers": WireRequest("POST", URL, WRONG, b"{}"),
    "headers by name": WireRequest("POST", URL, cast("Any", {"x-count": "7"}), b"{}"),
    "a URL that is none": WireRequest("POST", NUMBER, (), b"{}"),
    "no method": WireRequest(WRONG, URL, (), b"{}"),
    "a body that is text": WireRequest("POST", URL, (), cast("Any", "{}")),
    "no body": WireRequest("POST", URL, (), WRONG),
}


@either_way
@pytest.mark.parametrize("name", WIRES)
def test_a_request_with_a_field_of_another_kind_is_the_codecs_fault_and_is_not_sent(name: str, streamed: bool) -> None:  # noqa: FBT001 - as above
    async def main() -> None:
        upstream = ScriptedTransport(good)
        plugin = acme(authorize=lambda: WIRES[name])
        async with penstock.open_kernel(settings(), transport=upstream, plugins=[plugin]) as kernel:
            response = await ask(kernel, streamed=streamed)
            assert [attempt.outcome for attempt in response.attempts] == ["codec", "ok"]
            assert len(upstream.requests) == 1
            told = kernel.explain(PROMPT, model=THEIRS)
            assert told.stages[0].target == THEIRS

    run(main)


def test_that_a_request_cannot_be_sent_is_foreseen() -> None:
    async def main() -> None:
        plugin = acme(encode=lambda: WIRES["a number in a header"])
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            stage = kernel.explain(PROMPT, model=THEIRS).stages[0]
            assert stage.when.reason == "unsendable"
            assert "int in a header" in stage.when.says

    run(main)


@either_way
@pytest.mark.parametrize(
    "error",
    [
        errors.UnsendableRequestError("assistant message: content is NoneType"),
        errors.BudgetExceededError("no"),
        errors.DeadlineExceededError("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_after_an_answer_no_codec_can_say_that_nothing_was_sent(error: errors.CallError, streamed: bool) -> None:  # noqa: FBT001 - as above
    """`Message.assistant(None)` raises such an error: a server's null is not the caller's mistake."""

    async def main() -> None:
        plugin = acme(decode=raising(error), feed=raising(error))
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            with pytest.raises(errors.CodecFailedError, match=f"{THEIRS} broke .{type(error).__name__} in "):
                await ask(kernel, streamed=streamed, model=THEIRS)
            assert (await ask(kernel, streamed=streamed)).target == GPT

    run(main)


NOT_ITS_TO_SAY: Sequence[errors.CallError] = [
    errors.UnsendableRequestError("no"),
    errors.ParameterDemandedError("no", parameters=["seed"]),
    errors.BudgetExceededError("no"),
    errors.CircuitOpenError("no"),
    errors.OverloadedLocallyError("no"),
    errors.LedgerUnavailableError("no"),
    errors.NoRouteError("no"),
    errors.CascadeExhaustedError("no"),
    errors.OutputInvalidError("no"),
    errors.DeadlineExceededError("no"),
    errors.BudgetCutError("no"),
]


@pytest.mark.parametrize("error", NOT_ITS_TO_SAY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("status", [200, 500])
def test_what_a_codec_cannot_know_it_cannot_say_of_an_answer_nor_of_an_error(
    error: errors.CallError, status: int
) -> None:
    def told(request: httpx.Request) -> Reply:
        return Reply(status, json={}) if b'"model":"m"' in request.content else good(request)

    async def main() -> None:
        plugin = acme(classify=lambda: error, decode=raising(error))
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(told), plugins=[plugin]) as kernel:
            with pytest.raises(errors.CodecFailedError, match=f"{THEIRS} broke .{type(error).__name__}"):
                await kernel.complete("hello", model=THEIRS)
            response = await kernel.complete("hello")
            assert (response.target, response.attempts[0].outcome) == (GPT, "codec")

    run(main)


NO_CAPABILITIES: Sequence[Capabilities] = [
    Capabilities(max_output=cast("Any", "x")),
    Capabilities(max_output=-1),
    Capabilities(context_window=cast("Any", 1.5)),
    Capabilities(tools=WRONG),
    Capabilities(schema_limits=WRONG),
    Capabilities(schema_limits=SchemaLimits(deepest=cast("Any", "x"))),
    Capabilities(tool_call_id=cast("Any", "x")),
]


@pytest.mark.parametrize("told", NO_CAPABILITIES, ids=str)
def test_capabilities_with_a_field_of_another_kind_leave_the_cautious_defaults(
    told: Capabilities, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        plugin = acme(capabilities=lambda: told)
        async with penstock.open_kernel(
            settings(**LIMITED), transport=ScriptedTransport(good), plugins=[plugin]
        ) as kernel:
            assert (await kernel.complete(PROMPT, max_tokens=10)).target == THEIRS

    run(main)
    assert "the codec of provider acme gave capabilities() that cannot be" in caplog.text


class MuteError(errors.ServerError):
    """A plugin's own class, that cannot even be read."""

    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (errors.ServerError("no", code=NUMBER, status=cast("Any", "500"), request_id=NUMBER), "server_error"),
        (MuteError("no"), "codec"),
    ],
    ids=["fields", "words"],
)
def test_an_error_of_a_codec_with_a_field_of_another_kind_breaks_no_call(error: errors.CallError, outcome: str) -> None:
    def unwell(request: Any) -> Reply:
        return Reply(500, json={}) if b'"model":"m"' in request.content else good(request)

    async def main() -> None:
        plugin = acme(classify=lambda: error)
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(unwell), plugins=[plugin]) as kernel:
            response = await ask(kernel, streamed=False)
            assert response.target == GPT
            assert response.attempts[0].outcome == outcome
            assert response.attempts[0].provider_request_id is None

    run(main)
