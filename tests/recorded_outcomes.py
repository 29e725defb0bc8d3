"""The recorded exchanges that asked for JSON or strict tools, were refused, or ended for their length: what each gives.

Not here: reading them (`structured/test_recordings_structured`), and asking for a value with them
(`structured/test_recordings_extracted`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from dialect_exchanges import BY_FOLDER
from msgspec import UNSET, Struct, UnsetType
from plain_reading import Json, asked_body
from recorded import FOLDER, Recording, recordings

__all__ = [
    "EXCHANGES",
    "LISTED",
    "TAGS",
    "Outcome",
    "exchanges_that_give",
    "given",
    "kind_of",
    "schema_of",
    "tools_of",
]

TAGS = frozenset({"json-schema", "json-object", "strict", "refusal", "finish-length"})
ANTHROPIC = ("anthropic-messages", "vertex-anthropic", "bedrock-invoke-anthropic")
CHAT_WITHOUT_A_ROW = ("openai-chat", "doubleword-openai-compat")


class Outcome(Struct, frozen=True, forbid_unknown_fields=True):
    """What one recording gives."""

    id: str
    gives: Literal["value", "calls", "text", "refusal", "length", "nothing", "error"]
    value: Any | UnsetType = UNSET
    calls: list[tuple[str, dict[str, Any]]] = []
    error: str = ""


LISTED = [
    msgspec.json.decode(line, type=Outcome)
    for line in (Path(__file__).parent / "structured" / "recorded_outcomes.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]
EXCHANGES = {
    exchange.id: exchange
    for exchange in recordings(*sorted(folder.name for folder in FOLDER.iterdir() if any(folder.glob("*.json"))))
    if exchange.features & TAGS
}


def given(kind: str) -> list[Any]:
    """Those that give it, with what they give."""
    return [pytest.param(outcome, EXCHANGES[outcome.id], id=outcome.id) for outcome in LISTED if outcome.gives == kind]


def exchanges_that_give(kind: str) -> list[Any]:
    """Those that give it."""
    return [pytest.param(EXCHANGES[outcome.id], id=outcome.id) for outcome in LISTED if outcome.gives == kind]


def kind_of(exchange: Recording) -> str:
    """The `kind` of the provider that it is of."""
    if exchange.provider in ANTHROPIC:
        return "anthropic"
    return "openai" if exchange.provider in CHAT_WITHOUT_A_ROW else BY_FOLDER[exchange.provider].name


def schema_of(exchange: Recording) -> dict[str, Any] | None:
    """The schema of the answer that the request asked for, in any of the wires' spellings; None for any JSON."""
    body = asked_body(exchange)
    format_ = body.get("response_format") or body.get("output_config", {}).get("format") or body.get("output_format")
    assert format_, f"{exchange.id} asks for no JSON"
    schema: dict[str, Any] | None = format_.get("schema") or format_.get("json_schema", {}).get("schema")
    return schema


def tools_of(exchange: Recording) -> dict[str, Json | None]:
    """The tools that were sent, by their names, and the schemas of their arguments."""
    functions = [tool.get("function", tool) for tool in asked_body(exchange).get("tools", [])]
    return {each.get("name"): each.get("parameters") or each.get("input_schema") for each in functions}
