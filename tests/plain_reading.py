"""Recordings of Chat Completions read with nothing but `json`: what they say, and in which fields they say it.

Written without a look at the codec, to hold it against. Not here: what must come out equal (the tests of dialects).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias, cast

import attrs
from recorded import Recording

from penstock_providers.openai_chat.dialects.row import Seen

__all__ = ["Call", "Json", "PlainAnswer", "asked_body", "events_of", "objects", "part_of", "plain_answer", "seen_in"]

Json: TypeAlias = dict[str, Any]

REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_details")
REQUEST_ID_HEADERS = ("x-request-id", "apim-request-id", "mistral-correlation-id", "x-generation-id")
SOURCE_FIELDS = ("citations", "search_results")


@attrs.define
class Call:
    """A tool call: what was told of it, and in how many pieces."""

    id: str = ""
    name: str = ""
    arguments: str = ""
    pieces: int = 0


@attrs.define
class PlainAnswer:
    """What an answer says."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: list[Call] = attrs.Factory(list[Call])
    finish: str | None = None
    usage: Json | None = None


def part_of(told: Json, name: str) -> Json:
    """The object in that field; an empty one where there is none."""
    found: Json = told.get(name) or {}
    return found


def objects(told: Json, name: str) -> list[Json]:
    """The objects in that field; none where there are none."""
    found: list[Json] = told.get(name) or []
    return found


def asked_body(recording: Recording) -> Json:
    """The body of the request; an empty one where none was recorded."""
    body: object = recording.request.body if recording.request is not None else None
    return cast("Json", body) if isinstance(body, dict) else {}


def _listed_parts(piece: Json) -> list[Json]:
    """Content that is a list, as Mistral's may be."""
    content: object = piece.get("content")
    return cast("list[Json]", content) if isinstance(content, list) else []


def events_of(recording: Recording) -> list[Json]:
    """The JSON of every event of a stream, in order."""
    lines = (recording.response.sse or "").replace("\r\n", "\n").split("\n")
    told = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
    return [json.loads(each) for each in told if each and each != "[DONE]"]


def plain_answer(recording: Recording) -> PlainAnswer:
    """The answer of a recording that holds one."""
    answer = PlainAnswer()
    streamed = recording.streamed
    for payload in _payloads(recording):
        for choice in objects(payload, "choices"):
            if choice.get("index"):
                continue
            answer.finish = choice.get("finish_reason") or answer.finish
            _add(answer, part_of(choice, "delta" if streamed else "message"))
        usage = part_of(payload, "usage") or part_of(part_of(payload, "x_groq"), "usage")
        if usage:
            answer.usage = usage
    return answer


def _payloads(recording: Recording) -> list[Json]:
    return events_of(recording) if recording.streamed else [recording.response.body]


def _add(answer: PlainAnswer, piece: Json) -> None:
    content = piece.get("content")
    if isinstance(content, str):
        answer.text += content
    for part in _listed_parts(piece):
        if part["type"] == "text":
            answer.text += part["text"]
        elif part["type"] == "thinking":
            answer.reasoning += "".join(thought["text"] for thought in objects(part, "thinking"))
    told = piece.get("reasoning_content") or piece.get("reasoning")
    if told is None:
        details = objects(piece, "reasoning_details")
        told = "".join(detail.get("text") or detail.get("summary") or "" for detail in details)
    answer.reasoning += told
    answer.refusal += piece.get("refusal") or ""
    for at, told_call in enumerate(objects(piece, "tool_calls")):
        index = told_call.get("index")
        index = at if index is None else index
        while len(answer.calls) <= index:
            answer.calls.append(Call())
        call, function = answer.calls[index], part_of(told_call, "function")
        call.id = told_call.get("id") or call.id
        call.name = function.get("name") or call.name
        call.arguments += function.get("arguments") or ""
        call.pieces += 1


def seen_in(recordings: Sequence[Recording]) -> Seen:
    """What these recordings show, all of them together."""
    answered = [each for each in recordings if each.response.status < 400 and not _tells_error(each)]
    failed = [each for each in recordings if each.response.status >= 400]
    streamed = [each for each in answered if each.streamed]
    pieces = {call.pieces > 1 for each in streamed for call in plain_answer(each).calls}
    usages = [usage for each in answered if (usage := plain_answer(each).usage)]
    return Seen(
        reasoning=_sorted(field for each in answered for field in _reasoning_fields(each)),
        usage=_sorted(place for each in streamed for place in _usage_places(events_of(each))),
        calls="" if not pieces else "in pieces" if True in pieces else "whole",
        cached=_sorted(name for usage in usages for name in _cached_fields(usage)),
        reasoning_beside=any(_counts_reasoning_beside(usage) for usage in usages),
        finish=_sorted(reason for each in answered if (reason := plain_answer(each).finish)),
        errors=_sorted(_error_shape(each) for each in failed),
        request_ids=_sorted(name for each in recordings for name, _ in each.headers() if name in REQUEST_ID_HEADERS),
        resets=_sorted(
            "seconds" if value.isdecimal() else "duration"
            for each in recordings
            for name, value in each.headers()
            if name.startswith(("x-ratelimit-reset", "ratelimit-reset", "ratelimitbysize-reset"))
        ),
        sources=_sorted(
            name for each in answered for payload in _payloads(each) for name in SOURCE_FIELDS if payload.get(name)
        ),
    )


def _sorted(names: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted(set(names)))


def _tells_error(recording: Recording) -> bool:
    return any(payload.get("error") for payload in _payloads(recording))


def _reasoning_fields(recording: Recording) -> Iterable[str]:
    for payload in _payloads(recording):
        for choice in objects(payload, "choices"):
            piece = part_of(choice, "delta" if recording.streamed else "message")
            yield from (name for name in REASONING_FIELDS if piece.get(name))
            if any(part["type"] == "thinking" for part in _listed_parts(piece)):
                yield "content"


def _usage_places(events: list[Json]) -> Iterable[str]:
    ends = [at for at, event in enumerate(events) for each in objects(event, "choices") if each.get("finish_reason")]
    for at, event in enumerate(events):
        if part_of(event, "x_groq").get("usage"):
            yield "x_groq"
        if event.get("usage"):
            # The last word of the end may come twice: usage beside its repetition is usage after it.
            yield "along" if at < ends[0] else "with the end" if at == ends[0] else "after the end"


def _cached_fields(usage: Json) -> Iterable[str]:
    if "cached_tokens" in part_of(usage, "prompt_tokens_details"):
        yield "prompt_tokens_details.cached_tokens"
    yield from (name for name in ("prompt_cache_hit_tokens", "cached_tokens") if name in usage)


def _counts_reasoning_beside(usage: Json) -> bool:
    reasoning = part_of(usage, "completion_tokens_details").get("reasoning_tokens") or 0
    total: int = usage.get("total_tokens", 0)
    return bool(reasoning) and total == usage["prompt_tokens"] + usage["completion_tokens"] + reasoning


def _error_shape(recording: Recording) -> str:
    error: object = json.loads(recording.body_bytes()).get("error")
    return "object" if isinstance(error, dict) else "text" if isinstance(error, str) else "flat"
