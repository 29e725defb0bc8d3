"""The rows of dialects beside their sources: each value is what a recording shows, or what documentation says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pytest
from dialect_exchanges import VERIFIED, exchanges_of
from dialect_values import DOCUMENTED, ENABLED, OTHERS
from plain_reading import Json, asked_body, part_of, plain_answer, seen_in
from recorded import Recording

from penstock.policy.tool_ids import fits
from penstock.types import ChatRequest
from penstock_providers.openai_chat import DIALECTS, Dialect, Seen
from penstock_providers.openai_chat._models import model_of
from penstock_providers.openai_chat._thinking import thinking_fields
from penstock_providers.openai_chat.dialects import GENERIC

ROWS = tuple(DIALECTS.values())
ACTING = [
    field.name
    for field in attrs.fields(Dialect)
    if field.name not in {"name", "title", "seen", "recordings", "sources"}
]
"""What a row says of requests. What it says of answers is compared as a whole."""

Shows = Callable[[Dialect, Recording, Json], bool]


def shows_address(row: Dialect, recording: Recording, _body: Json) -> bool:
    assert recording.request is not None
    return row.base_url is not None and row.base_url.endswith(
        f"://{recording.request.host}{recording.request.path.removesuffix('/chat/completions')}"
    )


def shows_host(row: Dialect, recording: Recording, _body: Json) -> bool:
    return recording.request is not None and row.hosts == (recording.request.host,)


def shows_key_header(row: Dialect, recording: Recording, _body: Json) -> bool:
    return recording.request is not None and row.key_header in recording.request.headers


def shows_deployment(row: Dialect, recording: Recording, _body: Json) -> bool:
    return row.deployments and recording.request is not None and "/deployments/" in recording.request.path


def shows_openai_models(row: Dialect, recording: Recording, body: Json) -> bool:
    """It was asked for a model of OpenAI's, and says that this one answered."""
    asked = body["model"].rpartition("/")[2]
    answered = set(re.findall(r'"model": ?"([^"]+)"', recording.body_bytes().decode()))
    return row.openai_models and model_of(asked).known and all(asked in name for name in answered) and bool(answered)


def shows_limit(row: Dialect, recording: Recording, body: Json) -> bool:
    return row.limit in body and recording.response.status == 200


def shows_least_output(row: Dialect, recording: Recording, body: Json) -> bool:
    usage = plain_answer(recording).usage or {}
    return bool(body["max_tokens"] < row.least_output == usage["completion_tokens"])


def shows_usage_unasked(row: Dialect, recording: Recording, body: Json) -> bool:
    unasked = recording.streamed and "stream_options" not in body and plain_answer(recording).usage is not None
    return unasked and not row.stream_options


def shows_seed(row: Dialect, _recording: Recording, body: Json) -> bool:
    return row.seed in body


def shows_forced_tool(row: Dialect, recording: Recording, body: Json) -> bool:
    return body["tool_choice"] == row.forced_tool and bool(plain_answer(recording).calls)


def shows_no_force(row: Dialect, recording: Recording, body: Json) -> bool:
    asked = body["tool_choice"] == "required" and body["thinking"] == ENABLED["thinking"]
    return asked and recording.response.status == 400 and not row.forces_while_thinking


def shows_no_vision(row: Dialect, recording: Recording, body: Json) -> bool:
    pictured = any("image_url" in str(message["content"]) for message in body["messages"])
    return not row.vision and pictured and recording.response.status == 400


def shows_schema(row: Dialect, recording: Recording, body: Json) -> bool:
    return (
        bool(row.json_schema) and body["response_format"]["type"] == "json_schema" and recording.response.status == 200
    )


def shows_object(row: Dialect, recording: Recording, body: Json) -> bool:
    return row.json_object and body["response_format"] == {"type": "json_object"} and recording.response.status == 200


def shows_thinking(row: Dialect, _recording: Recording, _body: Json) -> bool:
    """All that was recorded of its wishes to think is what would be sent for them; this one has all the fields."""
    return all(says_as_recorded(row, each) for each in exchanges_of(row))


def shows_reasoning_back(row: Dialect, _recording: Recording, body: Json) -> bool:
    # Where more than one field was sent, it is the one that the provider itself uses.
    sent = any(message.get(row.reasoning_back) for message in body["messages"])
    return sent and row.reasoning_back in row.seen.reasoning


def shows_ids(row: Dialect, recording: Recording, _body: Json) -> bool:
    form, calls = row.tool_call_id, plain_answer(recording).calls
    return (
        form is not None
        and bool(calls)
        and all(fits(call.id, form) and form.shortest == form.longest == len(call.id) for call in calls)
    )


SHOWS: Mapping[str, Shows] = {
    "base_url": shows_address,
    "hosts": shows_host,
    "key_header": shows_key_header,
    "deployments": shows_deployment,
    "openai_models": shows_openai_models,
    "limit": shows_limit,
    "least_output": shows_least_output,
    "stream_options": shows_usage_unasked,
    "seed": shows_seed,
    "forced_tool": shows_forced_tool,
    "forces_while_thinking": shows_no_force,
    "vision": shows_no_vision,
    "json_schema": shows_schema,
    "json_object": shows_object,
    "thinking": shows_thinking,
    "reasoning_back": shows_reasoning_back,
    "tool_call_id": shows_ids,
}


def wish_of(body: Json) -> Any:
    """What a recorded body asks of thinking, in penstock's words; None for nothing."""
    if part_of(body, "thinking").get("type") == "disabled":
        return "off"
    asked = part_of(body, "reasoning")
    return body.get("reasoning_effort") or asked.get("effort") or asked.get("max_tokens")


def says_as_recorded(row: Dialect, recording: Recording) -> bool:
    body = asked_body(recording)
    if recording.response.status != 200 or (wish := wish_of(body)) is None:
        return True
    sent = thinking_fields(ChatRequest("q", thinking=wish), model_of(body["model"]), row)
    told = {name: body[name] for name in ("thinking", "reasoning", "reasoning_effort") if name in body}
    return all(sent.get(name) == value for name, value in told.items())


def wrong_in(row: Dialect) -> list[str]:
    """What of the row its sources do not bear out."""
    return [problem for field in ACTING if (problem := _wrong(row, field))]


def _wrong(row: Dialect, field: str) -> str:
    value, source = getattr(row, field), row.sources.get(field)
    if value == getattr(GENERIC, field):
        return f"{field} has a source, and says nothing" if source else ""
    if source is None:
        return f"{field} has no source"
    if source.startswith("https://"):
        documented = DOCUMENTED[row.name]
        return "" if field in documented and documented[field] == value else f"{field} is documented otherwise"
    (recording,) = [each for each in exchanges_of(row) if each.id == source]
    shown = SHOWS[field](row, recording, asked_body(recording))
    return "" if shown else f"{field} is not what {source} shows"


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_row_says_what_its_sources_say(row: Dialect) -> None:
    assert wrong_in(row) == []


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_wrong_value_in_a_row_is_found(row: Dialect) -> None:
    for field in ACTING:
        for other in OTHERS[field]:
            if other != getattr(row, field):
                assert wrong_in(attrs.evolve(row, **{field: other})), f"{field} = {other!r} went unseen"


@pytest.mark.parametrize("row", VERIFIED, ids=[row.name for row in VERIFIED])
def test_a_wrong_word_on_answers_is_found(row: Dialect) -> None:
    seen = seen_in(exchanges_of(row))
    for field in attrs.fields(Seen):
        told = getattr(row.seen, field.name)
        assert attrs.evolve(row.seen, **{field.name: another(told)}) != seen


def another(told: Any) -> Any:
    match told:
        case bool():
            return not told
        case str():
            return "sideways"
        case _:
            return (*told, "another")


def test_every_documented_value_is_that_of_a_row() -> None:
    assert DOCUMENTED.keys() == DIALECTS.keys()
    for name, values in DOCUMENTED.items():
        for field in values:
            assert DIALECTS[name].sources[field].startswith("https://"), (name, field)


def test_only_what_was_never_recorded_is_from_documentation_alone() -> None:
    assert {row.name for row in ROWS if not row.verified} == {"lmstudio", "vllm"}
    for row in ROWS:
        assert row.verified or row.sources["seen"].startswith("https://")


def test_no_two_rows_claim_one_host() -> None:
    hosts = [host for row in ROWS for host in row.known_hosts]
    assert len(hosts) == len(set(hosts))
    assert "localhost" not in hosts
