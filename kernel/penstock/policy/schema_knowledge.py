"""What a schema says about one place, one word, one envelope: whatever finding JSON in a text needs of it.

Not here: checking values (`json_schema`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from penstock.policy.json_notation import LEFT_OUT
from penstock.policy.json_schema import pointed
from penstock.policy.json_values import Json, is_array, is_object

__all__ = [
    "NONE",
    "is_of_failure",
    "is_remark",
    "may_be_word",
    "only_content",
    "own_words",
    "replaced",
    "root_shapes",
    "says_nothing",
    "schema_at",
    "schemas_at",
    "speaks_of_values",
    "takes_no_more",
    "value_at",
    "wants_array",
    "words_of",
]

MOST_SHAPES = 64
"""Of one place; a union of more is not told apart."""

MOST_BESIDE = 64
"""Properties of an envelope."""

NONE: Json = object()
"""No value: null is one."""


def words_of(schema: Any) -> frozenset[str]:
    """The strings that some `enum` or `const` of the schema lists."""
    found: set[str] = set()
    left: list[Json] = [schema]
    while left:
        at = left.pop()
        if is_object(at):
            stated = at
            found.update(_listed(stated))
            left.extend(value for key, value in stated.items() if key not in ("enum", "const"))
        elif is_array(at):
            left.extend(at)
    return frozenset(found)


def _listed(schema: Mapping[str, Json]) -> Iterator[str]:
    listed = schema.get("enum")
    for each in (*(listed if is_array(listed) else ()), schema.get("const")):
        if isinstance(each, str):
            yield each


def schema_at(root: Mapping[str, Json], path: tuple[str | int, ...]) -> Mapping[str, Json] | None:
    """The one schema that a place in the value has to fit; None where several might, or nobody can say."""
    at = _plain(root, root)
    for step in path:
        if at is None:
            return None
        below: Json
        if isinstance(step, str):
            below = at.get("properties", {}).get(step)
        else:
            below = at.get("items") if "prefixItems" not in at else None
        at = _plain(root, below)
    return at


def _plain(root: Mapping[str, Json], schema: Json) -> Mapping[str, Json] | None:
    """Behind references, and out of a choice whose other side is null."""
    for _ in range(16):
        if not is_object(schema):
            return None
        stated = schema
        choices = stated.get("anyOf") or stated.get("oneOf")
        if "$ref" in stated:
            schema = pointed(root, stated["$ref"])
        elif is_array(choices):
            real = [each for each in choices if each != {"type": "null"}]
            if len(real) != 1:
                return None
            schema = real[0]
        else:
            return stated
    return None


def root_shapes(root: Any, *below: Json) -> list[Mapping[str, Json]]:
    """The schemas that a value has to fit one of, behind references and choices; of the root where nothing is named."""
    found: list[Mapping[str, Json]] = []
    left: list[Json] = list(below) if below else [root]
    steps = 0
    while left and steps < MOST_SHAPES:
        steps += 1
        at = left.pop()
        if not is_object(at):
            continue
        found.append(at)
        if "$ref" in at and is_object(root):
            left.append(pointed(root, at["$ref"]))
        for choices in ("anyOf", "oneOf", "allOf"):
            held = at.get(choices)
            left.extend(held if is_array(held) else ())
    return found


def wants_array(root: Any) -> bool:
    """True where the value may be a list."""
    return any("items" in shape or shape.get("type") == "array" for shape in root_shapes(root))


def schemas_at(root: Any, path: tuple[str | int, ...]) -> list[Mapping[str, Json]]:
    """All schemas that may be asked about a place in the value; none where nobody can say."""
    at = root_shapes(root)
    for step in path:
        below: list[Json] = []
        for shape in at:
            if isinstance(step, str):
                below.append(shape.get("properties", {}).get(step, shape.get("additionalProperties")))
            else:
                below.append(shape.get("items"))
                below.extend(shape.get("prefixItems", ())[step : step + 1])
        at = root_shapes(root, *below)
        if len(at) >= MOST_SHAPES:
            return []
    return at


def may_be_word(root: Any, path: tuple[str | int, ...], written: str, literal: Json) -> bool | None:
    """Whether a bare word that is also a literal of some language is a string there: None where it may be either."""
    at = schemas_at(root, path)
    word = any(written in _listed(shape) for shape in at)
    other = not at or any(_takes(shape, literal) for shape in at)
    return None if word and other else word


def _takes(schema: Mapping[str, Json], literal: Json) -> bool:
    """True where a schema by itself may take null, true or false."""
    if "enum" in schema or "const" in schema:
        listed = schema.get("enum")
        return any(each is literal for each in (*(listed if is_array(listed) else ()), schema.get("const", "")))
    stated = schema.get("type")
    if stated is None:
        return not any(name in schema for name in ("$ref", "anyOf", "oneOf", "allOf"))
    return ("null" if literal is None else "boolean") in (stated if is_array(stated) else [stated])


def own_words(schema: Mapping[str, Json]) -> list[str]:
    """The strings that the schema of one place lists."""
    return list(dict.fromkeys(_listed(schema)))


def takes_no_more(schema: Mapping[str, Json], value: Json) -> bool:
    """True where nothing could follow the last comma."""
    if is_array(value):
        return schema.get("maxItems") == len(value)
    known = schema.get("properties", {})
    return (
        schema.get("additionalProperties") is False
        and "patternProperties" not in schema
        and known.keys() <= value.keys()
    )


def value_at(value: Json, path: tuple[str | int, ...]) -> Json:
    """What stands at a place."""
    for step in path:
        value = value[step]
    return value


def replaced(value: Json, path: tuple[str | int, ...], leaf: Json) -> Json:
    """The value itself, with another leaf: nobody else has seen it yet."""
    holder = value_at(value, path[:-1])
    holder[path[-1]] = leaf
    return value


_OF_TOOLS = ("arguments", "parameters", "input", "args")
"""How calls of tools name what is meant for the tool."""
_BESIDE_TOOLS = frozenset({"name", "type", "id", "index", "call_id", "tool_call_id"})
"""What else calls of tools say."""
_OF_CALLS = ("tool_calls", "tool_call", "function_call", "function")
"""Under which names messages and wires hold the call of a tool."""
_BESIDE_CALLS = _BESIDE_TOOLS | {"role"}
_OF_ANSWERS = frozenset(
    {"answer", "answers", "array", "data", "items", "json", "list", "output", "response", "result", "results"}
    | {"text", "value", "values"}
)
"""How models name an answer as a whole."""
_OF_GOOD_STATES = frozenset({"complete", "found", "ok", "success", "successful", "valid"})
_OF_ASIDES = frozenset(
    {"citation", "citations", "reasoning", "reasons", "references", "source", "sources", "steps"} | {"thoughts"}
)
"""Of what is said beside an answer, in lists."""
_OF_REMARKS = frozenset({"certainty", "citations", "confidence", "references", "source", "sources", "tokens", "usage"})
_OF_FAILURES = frozenset({"error", "errors", "failed", "failure", "failures"})
_OF_OTHERS = _OF_FAILURES | frozenset(
    {"bad", "before", "default", "deprecated", "draft", "example", "examples", "expected", "former", "format"}
    | {"ignored", "incorrect", "invalid", "missing", "not", "old", "original", "previous", "rejected", "sample"}
    | {"schema", "skipped", "template", "unreadable", "wrong"}
    | {"corrected", "correction", "corrections", "cursor", "dummy", "last", "more", "next", "partial"}
    | {"placeholder", "query", "request", "truncated"}
)
"""Parts of names of what is not the answer."""
NOTHING_SAID: tuple[Json, ...] = (None, False, "", [], {})
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_SHORT = 40
"""Characters of a word or two: `"status": "not found"`."""


def only_content(value: Json, schema: Any) -> Json:
    """What an object of one property, a list of one item, or the call of a tool holds; or the one property among others
    that is the answer, where the others only speak of it.

    What fits nearly everything, as a string, is content only under a name that says that it is the answer.
    """
    if is_array(value):
        return value[0] if len(value) == 1 and is_object(value[0]) and value[0] else NONE
    if not is_object(value) or len(value) > MOST_BESIDE:
        return NONE
    known = {name for shape in root_shapes(schema) for name in shape.get("properties", ())}
    named = [name for name in _OF_TOOLS if name in value]
    if len(named) == 1 and named[0] not in known and isinstance(value.get("name"), str):
        others = value.keys() - {named[0]}
        if others <= _BESIDE_TOOLS or not known & others:
            return value[named[0]]
    if any(name in known for name in value):
        return NONE  # a value of the schema, and a wrong one
    calls = [name for name in _OF_CALLS if name in value]
    if len(calls) == 1 and all(
        name == calls[0] or name in _BESIDE_CALLS or held in NOTHING_SAID for name, held in value.items()
    ):
        return _one_call(value[calls[0]])
    title = schema.get("title") if is_object(schema) else None
    held = [
        name
        for name, content in value.items()
        if not _says_otherwise(name)
        and (name.lower() in _OF_ANSWERS or name == title or _tells(content, known, schema))
    ]
    if len(held) != 1:
        return NONE
    content = value[held[0]]
    if all(name == held[0] or _only_speaks_of(content, name, other) for name, other in value.items()):
        return content
    return NONE


def _one_call(held: Json) -> Json:
    """The call, or the list of one; none where there are several, or what is held is no call."""
    call: Json = held[0] if is_array(held) and len(held) == 1 else held
    of_tool = is_object(call) and ("function" in call or any(name in call for name in _OF_TOOLS))
    return held if of_tool else NONE


def is_remark(value: Json) -> bool:
    """True for an object that only says how sure an answer is, what it cost or where it stands."""
    return is_object(value) and bool(value) and len(value) <= MOST_BESIDE and all(map(_OF_REMARKS.__contains__, value))


def speaks_of_values(words: str) -> bool:
    """True for words that announce an answer, or something in its place."""
    return bool(_parts(words) & (_OF_ANSWERS | _OF_OTHERS))


def is_of_failure(value: Json) -> bool:
    """True for what says that there is no answer: null, an error."""
    if not is_object(value):
        return value is None
    said = (name for name, held in islice(value.items(), MOST_BESIDE) if held not in NOTHING_SAID)
    return any(_parts(name) & _OF_FAILURES for name in said)


def says_nothing(value: Json, schema: Any) -> bool:
    """True for an object of other names alone than those of its schema, or a list that holds one.

    To a type whose properties are all optional that fits, and comes to nothing but defaults: what the model said would
    be lost without a word.
    """
    if is_array(value):
        below = [shape["items"] for shape in root_shapes(schema) if "items" in shape]
        return bool(below) and any(_says_nothing(each, root_shapes(schema, *below)) for each in value)
    return _says_nothing(value, root_shapes(schema))


def _says_nothing(value: Json, shapes: list[Mapping[str, Json]]) -> bool:
    if not is_object(value) or not value:
        return False
    known = False
    for shape in shapes:
        named = shape.get("properties", {})
        known = known or bool(named)
        if shape.get("additionalProperties") or "patternProperties" in shape or not value.keys().isdisjoint(named):
            return False
    return known


def _parts(name: str) -> set[str]:
    return {part.lower() for part in _PARTS.findall(name)}


def _says_otherwise(name: str) -> bool:
    return bool(_parts(name) & _OF_OTHERS)


def _only_speaks_of(content: Json, name: str, other: Json) -> bool:
    """True for a reason, a good state, a count: nothing is lost without it. Beside a lone scalar something may be."""
    if not (is_object(content) or is_array(content)):
        return False
    parts = _parts(name)
    if parts & _OF_OTHERS:
        return other in NOTHING_SAID
    if parts & _OF_GOOD_STATES and not isinstance(other, str):
        return other is True or other == 1
    if parts & {"code", "status"} and type(other) is int:
        return 200 <= other < 300
    if is_array(other):
        return bool(parts & _OF_ASIDES) and not any(is_object(each) or is_array(each) for each in other)
    if isinstance(other, str):
        if len(other) <= _SHORT and _says_otherwise(other):
            return False
        return is_object(content) or LEFT_OUT.search(other) is None
    if is_array(content):
        return other is None or (type(other) is int and other == len(content))
    return other is None or other is True or type(other) in {int, float}


def _tells(content: Json, known: set[str], schema: Any) -> bool:
    """True for an object, or a list of objects, with properties that the schema names."""
    if is_object(content):
        return any(name in known for name in content)
    if not is_array(content) or not content:
        return False
    of_items = {
        name
        for shape in root_shapes(schema)
        for item in root_shapes(schema, shape.get("items"))
        for name in item.get("properties", ())
    }
    return all(is_object(each) and any(name in of_items for name in each) for each in content)
