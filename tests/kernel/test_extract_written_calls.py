"""A model that writes the call of the tool as text: what the call holds comes back, never the call itself."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, NotRequired, TypedDict

import attrs
import msgspec
import pydantic
import pytest

import penstock
from penstock.errors import OutputInvalidError
from penstock.policy.json_values import is_object
from penstock.testing import AnsweredKernel

BY_TOOL: dict[str, Any] = {
    "providers": {"openai": {}},
    "routes": {"default": {"cascade": ["openai/gpt-3.5-turbo"]}},
}
NATIVE: dict[str, Any] = {"providers": {"openai": {}}, "routes": {"default": {"cascade": ["openai/gpt-4o"]}}}
TEA = {"name": "Tea", "price": 3.5}


class OfMsgspec(msgspec.Struct):
    name: str
    price: float | None = None


@attrs.define
class OfAttrs:
    name: str
    price: float | None = None


@dataclasses.dataclass
class OfDataclass:
    name: str
    price: float | None = None


class OfTypedDict(TypedDict):
    name: str
    price: NotRequired[float]


class OfPydantic(pydantic.BaseModel):
    name: str
    price: float | None = None


RAW = {
    "title": "Raw",
    "type": "object",
    "properties": {"name": {"type": "string"}, "price": {"type": "number"}},
    "required": ["name"],
}
KINDS: list[tuple[str, Any]] = [
    *((kind.__name__, kind) for kind in (OfMsgspec, OfAttrs, OfDataclass, OfTypedDict, OfPydantic)),
    ("Raw", RAW),
    ("Raw", {**RAW, "additionalProperties": False}),
]


def extracted(kind: Any, answer: str, config: dict[str, Any]) -> Any:
    async def extract(kernel: penstock.Kernel) -> Any:
        return (await kernel.extract(kind, "What is sold?", max_repairs=0)).value

    value = AnsweredKernel([answer], config=config).run(extract)
    return value if is_object(value) else {"name": value.name, "price": value.price}


@pytest.mark.parametrize("told", ["%s", "<tool_call>\n%s\n</tool_call>", "[TOOL_CALLS][%s]", "```json\n%s\n```"])
@pytest.mark.parametrize("config", [BY_TOOL, NATIVE], ids=["by a tool", "native"])
@pytest.mark.parametrize(("name", "kind"), KINDS, ids=str)
def test_what_it_holds_comes_back(name: str, kind: Any, config: dict[str, Any], told: str) -> None:
    call = json.dumps({"name": name, "arguments": TEA})
    assert extracted(kind, told.replace("%s", call), config) == TEA


@pytest.mark.parametrize(("name", "kind"), KINDS, ids=str)
def test_the_call_of_another_tool_is_asked_again(name: str, kind: Any) -> None:
    answer = json.dumps({"name": f"search_{name}", "arguments": {"query": "Tea"}})
    with pytest.raises(OutputInvalidError) as caught:
        extracted(kind, answer, BY_TOOL)
    assert caught.value.paths[0] in ("$.arguments", "$.query", "$.name")
