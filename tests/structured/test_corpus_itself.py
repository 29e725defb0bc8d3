"""The corpus of damaged outputs is what its README says, and its answers fit their own schemas."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest
from damaged_outputs import CORPUS, OUTPUTS, DamagedOutput, same
from msgspec import UNSET

THREAD = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+")
README = (CORPUS / "README.md").read_text(encoding="utf-8")
PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}

FROM_THREADS = [output for output in OUTPUTS if output.source != "penstock"]
REFUSED = [output for output in OUTPUTS if output.refuse is not UNSET]
WANTED = [output for output in OUTPUTS if output.refuse is UNSET]


def is_of(value: object, name: str) -> bool:
    return isinstance(value, PYTHON_TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """The few words of JSON Schema that the corpus speaks, apart from the kernel's own reading of them."""
    unknown = schema.keys() - {"type", "properties", "required", "additionalProperties", "items", "minItems"}
    assert unknown <= {"enum", "anyOf"}
    types = schema.get("type", list(PYTHON_TYPES))
    if not any(is_of(value, name) for name in ([types] if isinstance(types, str) else types)):
        return False
    if "enum" in schema and not any(same(value, allowed) for allowed in schema["enum"]):
        return False
    if "anyOf" in schema and not any(fits(value, branch) for branch in schema["anyOf"]):
        return False
    if is_of(value, "array"):
        return len(value) >= schema.get("minItems", 0) and all(fits(item, schema.get("items", {})) for item in value)
    return not is_of(value, "object") or members_fit(value, schema)


def members_fit(members: dict[str, Any], schema: dict[str, Any]) -> bool:
    known: dict[str, Any] = schema.get("properties", {})
    others: Any = schema.get("additionalProperties", True)
    for name, member in members.items():
        if name in known:
            if not fits(member, known[name]):
                return False
        elif others is False or (others is not True and not fits(member, others)):
            return False
    return members.keys() >= set(schema.get("required", ()))


def test_it_is_as_large_as_promised() -> None:
    assert len(OUTPUTS) >= 300
    assert len(FROM_THREADS) >= 100
    assert len({output.source for output in FROM_THREADS}) >= 100
    assert len(REFUSED) >= 40
    assert len({output.kind for output in OUTPUTS}) >= 20


def test_no_text_is_asked_the_same_twice() -> None:
    asked = Counter((output.text, json.dumps(output.schema, sort_keys=True)) for output in OUTPUTS)
    assert [question for question, times in asked.items() if times > 1] == []
    assert len({output.id for output in OUTPUTS}) == len(OUTPUTS)


def test_each_entry_has_one_answer_and_a_source() -> None:
    for output in OUTPUTS:
        assert (output.want is UNSET) != (output.refuse is UNSET), output.id
        assert not (output.or_refuse and output.want is UNSET), output.id
        assert output.source == "penstock" or THREAD.fullmatch(output.source), output.id


@pytest.mark.parametrize("output", WANTED, ids=[output.id for output in WANTED])
def test_what_is_wanted_fits_its_schema(output: DamagedOutput) -> None:
    assert output.schema is None or fits(output.want, output.schema)


def test_no_refused_text_is_a_valid_answer_as_it_stands() -> None:
    """But where Python's own reader takes what is no JSON, or loses the first of two members of one name."""
    read_by_python = {output.id for output in REFUSED if is_valid_answer(output)}
    unheld = re.compile("NaN|Infinity|1e999")
    lenient = {output.id for output in REFUSED if output.kind == "duplicate-keys" or unheld.search(output.text)}
    assert read_by_python <= lenient


def is_valid_answer(output: DamagedOutput) -> bool:
    try:
        value = json.loads(output.text)
    except ValueError:
        return False
    return fits(value, output.schema or {})


def test_what_is_called_sound_is_json_as_it_stands() -> None:
    for output in OUTPUTS:
        if output.kind == "sound":
            assert same(json.loads(output.text), output.want), output.id


def test_the_readme_counts_what_is_there() -> None:
    kinds = Counter(output.kind for output in OUTPUTS)
    refused = Counter(output.kind for output in REFUSED)
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (\d+) \|", README, flags=re.MULTILINE)
    assert {kind: (int(all_), int(not_)) for kind, all_, not_ in rows} == {k: (n, refused[k]) for k, n in kinds.items()}
    threads = len({output.source for output in FROM_THREADS})
    either = sum(output.or_refuse for output in OUTPUTS)
    assert f"{len(OUTPUTS)} outputs, {len(FROM_THREADS)} of them from {threads} public threads." in README
    answers = f"{len(WANTED) - either} have a value, {len(REFUSED)} a refusal, {either} a value or a refusal."
    assert answers in README
