"""What objects are when they are not the value that is asked for: envelopes of it, calls of tools, remarks, errors.

By the names that models give to their properties. Not here: where a value stands in its text (`json_rivals`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import Any

from penstock.policy.json_names import names_of_type, plain_name
from penstock.policy.json_notation import LEFT_OUT
from penstock.policy.json_states import OF_GOOD_STATES, is_of_state, parts_of, says_well, words_of
from penstock.policy.json_values import Json, is_array, is_object
from penstock.policy.schema_knowledge import NONE, root_shapes

__all__ = [
    "MOST_BESIDE",
    "containers_under_a_name",
    "content_of_own_name",
    "is_of_failure",
    "is_remark",
    "is_schema",
    "only_content",
    "only_speaks_of",
    "says_what_it_is_about",
    "speaks_of_asides",
    "speaks_of_others",
    "speaks_of_rows",
    "speaks_of_values",
    "words_under_a_name",
]

MOST_BESIDE = 64
"""Properties of an envelope."""

OF_TOOLS = ("arguments", "parameters", "input", "args")
"""How calls of tools name what is meant for the tool."""
NAMES_OF_TOOLS = ("name", "tool", "tool_name", "function", "function_name", "recipient_name", "action")
ARGUMENTS = (*OF_TOOLS, "kwargs", "params", "tool_input", "tool_args", "action_input")
"""How models that write the call of a tool as text say the same, and whose they are."""
BESIDE_TOOLS = frozenset({"name", "type", "id", "index", "call_id", "tool_call_id"})
"""What else calls of tools say."""
OF_CALLS = ("tool_calls", "tool_call", "tool_uses", "function_call", "functionCall", "function")
"""Under which names messages and wires hold the call of a tool."""
BESIDE_CALLS = BESIDE_TOOLS | {"role"}
OF_ANSWERS = frozenset(
    {"answer", "answers", "array", "data", "items", "json", "list", "output", "response", "result", "results"}
    | {"text", "value", "values"}
)
"""How models name an answer as a whole."""
_OF_ROWS = frozenset({"elements", "entries", "objects", "records", "rows"})
_OF_MAPS = frozenset(
    {"categories", "count", "counts", "dict", "dictionary", "entities", "frequencies", "frequency", "glossary", "grid"}
    | {"groups", "labels", "map", "mapping", "mappings", "matrix", "object", "pairs", "prices", "scores", "table"}
    | {"totals", "translations", "word", "words"}
)
"""What objects and lists without names of their own are made of."""
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
_OF_OTHERS_BESIDE = _OF_OTHERS | {"hallucinated", "incomplete", "refusal"}
"""Parts of names beside an answer that say that it is none."""
_OF_SOME = frozenset(
    {"alternative", "canceled", "cancelled", "denied", "disputed", "duplicate", "duplicates", "prior", "projected"}
    | {"removed", "retracted", "superseded", "unconfirmed", "unmatched"}
)
"""Parts of names of what may be asked for by them: which claims were denied?"""
_OF_OTHERS_AROUND = _OF_OTHERS_BESIDE | _OF_SOME | {"discarded", "excluded", "hypothetical", "unrelated"}
"""Parts of names around what is not the answer. Beside one they only say more of it: `"removed": 3`."""
_FINDINGS = frozenset({"answer", "answers", "match", "matches", "result", "results"})
_OF_FINDINGS = _FINDINGS | {"best", "exact", "final", "found", "matching"}
"""Of these, with one of those, are names under which what was looked for would stand: `best_match`."""
_OF_ITSELF = frozenset(
    {"all", "data", "detail", "details", "entry", "extracted", "extraction", "found", "info", "information", "list"}
    | {"object", "parsed", "profile", "record", "records"}
)
"""Parts of names of what is asked for itself: `extracted_hotel`, `hotel_details`."""
_LONGEST_NAME = 100
"""Characters of those that are taken apart."""
_NONE = ("na", "none", "null")
_NONE_OF_THEM = re.compile(r"[Nn]o(?:[^A-Za-z0-9]|(?=[A-Z]))")
_OF_OTHER_WORDS = (
    (_OF_OTHERS_AROUND | _OF_REMARKS | _OF_ASIDES | OF_GOOD_STATES)
    | {"ambiguities", "ambiguity", "apology", "assumption", "assumptions", "choices", "clarification", "clarifications"}
    | {"clarify", "comment", "comments", "explanation", "headers", "hint", "hints", "instruction", "instructions"}
    | {"issues", "message", "messages", "metadata", "no", "non", "note", "notes", "options", "problem", "problems"}
    | {"question", "questions", "rationale", "reason", "required", "suggestion", "suggestions", "thinking"}
    | {"thought", "unknown", "warning", "warnings", "without"}
)
"""Parts of names of words that are not the answer."""
_OF_ANY_WORDS = frozenset(
    {"action", "code", "command", "content", "description", "field", "fields", "function", "id", "kind", "language"}
    | {"model", "prompt", "role", "state", "status", "step", "task", "title", "tool", "type", "url"}
)
"""Parts of names of texts of all sorts; a word of the schema's own is the answer under such a name as well."""
NOTHING_SAID: tuple[Json, ...] = (None, False, "", [], {})
_OF_SCHEMAS = frozenset({"$ref", "allOf", "anyOf", "const", "enum", "oneOf", "type"})
"""Words of which a schema has one at least."""
_OF_CODES = frozenset({"code", "status"})
_OF_WHOLES = frozenset(
    {"author", "category", "context", "currency", "details", "document", "extra", "filename", "info", "keywords"}
    | {"lang", "locale", "meta", "remarks", "summary", "tags", "topic", "unit", "units"}
)
"""Parts of names of what is said of a map as a whole."""
_OF_NOTES = (_OF_OTHER_WORDS | _OF_WHOLES) - OF_GOOD_STATES
"""Parts of labels of what is said beside an answer, or is another thing."""
_NUMBERS = (int, float)
"""And no bool."""
_DATE = re.compile(r"\A\d{4}-\d\d")
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
    if "properties" not in known and is_schema(value):
        return NONE
    named = [name for name in OF_TOOLS if name in value]
    if len(named) == 1 and named[0] not in known and isinstance(value.get("name"), str):
        others = value.keys() - {named[0]}
        unheard = others - BESIDE_TOOLS
        # Of what it is called with nobody knows yet that it is an object: it may be written as a text.
        if not unheard or (not known & others and all(only_speaks_of({}, name, value[name]) for name in unheard)):
            return value[named[0]]
    if any(name in known for name in value):
        return NONE  # a value of the schema, and a wrong one
    calls = [name for name in OF_CALLS if name in value]
    if len(calls) == 1 and all(
        name == calls[0] or name in BESIDE_CALLS or held in NOTHING_SAID for name, held in value.items()
    ):
        return _one_call(value[calls[0]])
    title = schema.get("title") if is_object(schema) else None
    held = [
        name
        for name, content in value.items()
        if not _is_of_other(name, schema)
        and (name.lower() in OF_ANSWERS or name == title or _tells(content, known, schema))
    ]
    if len(held) != 1:
        return NONE
    content = value[held[0]]
    beside = [(name, other) for name, other in value.items() if name != held[0]]
    if not known and any(_may_be_one_more(content, name, other) for name, other in beside):
        return NONE
    speak = all(only_speaks_of(content, name, other) for name, other in beside)
    return content if speak and not _stands_for_another(held[0], beside, schema) else NONE


def content_of_own_name(
    value: Json, known: Collection[str], fits: Callable[[Json], bool], wrong: Collection[str]
) -> Json:
    """What an envelope holds that has names in common with the type, and is itself no value: `{"answer": {...}}` of a
    type with an `answer`.

    `wrong`: the properties of it that do not fit. The one that holds a whole value is an envelope's where it is called
    so, and is no part of another: a manager is.
    """
    if not is_object(value) or len(value) > MOST_BESIDE:
        return NONE
    held = [name for name, content in value.items() if is_object(content) and fits(content)]
    if len(held) != 1 or held[0].lower() not in OF_ANSWERS or (held[0] in known and held[0] not in wrong):
        return NONE
    content = value[held[0]]
    others = [(name, other) for name, other in value.items() if name != held[0]]
    if any(name in known and not is_of_state(parts_of(name)) for name, _ in others):
        return NONE
    return content if all(only_speaks_of(content, name, other) for name, other in others) else NONE


def containers_under_a_name(value: Json) -> Json:
    """The object, or the list of objects or lists, that an object of one property holds: `{"counts": {"a": 1}}`.

    None under a name that could say that it is something else than an answer: `metadata`, `unmatched`.
    """
    if not is_object(value) or len(value) != 1:
        return NONE
    ((name, held),) = value.items()
    whole = is_object(held) or (is_array(held) and all(is_object(each) or is_array(each) for each in held))
    parts = parts_of(name)
    return held if whole and held and parts and parts <= OF_ANSWERS | _OF_ROWS | _OF_MAPS else NONE


def speaks_of_rows(value: Json) -> bool:
    """True for an object under whose one name there can be but a list of what is asked for."""
    return is_object(value) and all(name.lower() in OF_ANSWERS | _OF_ROWS for name in value)


def is_schema(value: Json) -> bool:
    """True for an object all of whose properties are schemas."""
    parts = value.get("properties") if is_object(value) else None
    if not is_object(parts) or not parts:
        return False
    return all(is_object(part) and not _OF_SCHEMAS.isdisjoint(part) for part in parts.values())


def words_under_a_name(value: Json) -> Json:
    """The word, or the list of words, that an object of one property holds: `{"keywords": ["a", "b"]}`.

    None under a name that says that they are something else than an answer. A number is none, nor true: what it counts,
    and what is true, the name alone says (`{"price_in_cents": 5}`, `{"not_spam": true}`).
    """
    if not is_object(value) or len(value) != 1:
        return NONE
    ((name, held),) = value.items()
    words: Json = held if is_array(held) else [held]
    if not words or not all(isinstance(each, str) for each in words):
        return NONE
    return NONE if parts_of(name) & _OF_OTHER_WORDS else held


def says_what_it_is_about(value: Json) -> bool:
    """True for an object under whose one name a text may be anything: `{"action": "search"}`."""
    return is_object(value) and any(parts_of(name) & _OF_ANY_WORDS for name in value)


def _one_call(held: Json) -> Json:
    """The call, or the list of one; none where there are several, or what is held is no call."""
    call: Json = held[0] if is_array(held) and len(held) == 1 else held
    of_tool = is_object(call) and ("function" in call or any(name in call for name in OF_TOOLS))
    return held if of_tool else NONE


def is_remark(value: Json) -> bool:
    """True for an object that only says how sure an answer is, what it cost or where it stands."""
    return is_object(value) and bool(value) and len(value) <= MOST_BESIDE and all(map(_OF_REMARKS.__contains__, value))


def speaks_of_values(words: str) -> bool:
    """True for words that announce an answer, or something in its place."""
    return bool(parts_of(words) & (OF_ANSWERS | _OF_OTHERS))


def speaks_of_others(words: str) -> bool:
    """True for words that announce what is said beside an answer, or something else than one: `Notes`, `Missing`."""
    return not parts_of(words).isdisjoint(_OF_NOTES)


def speaks_of_asides(words: str) -> bool:
    """True for words that announce what is said of an answer, and no answer: `Tokens used`."""
    return bool(parts_of(words) & _OF_REMARKS) and not speaks_of_values(words)


def is_of_failure(value: Json) -> bool:
    """True for what says that there is no answer: null, an error."""
    if not is_object(value):
        return value is None
    said = (name for name, held in islice(value.items(), MOST_BESIDE) if held not in NOTHING_SAID)
    return any(parts_of(name) & _OF_FAILURES for name in said)


def _says_otherwise(name: str) -> bool:
    return bool(parts_of(name) & _OF_OTHERS)


def _is_of_other(name: str, schema: Any) -> bool:
    """True for a name of something else than what is asked for. A type may have such a name itself; and where the rest
    of it is the type's, just those may be asked for: `denied_claims`.
    """
    around = parts_of(name) & _OF_OTHERS_AROUND
    if _says_otherwise(name) or not around:
        return _says_of_others(name)
    names, plain = names_of_type(schema), plain_name(name)
    if plain in names or not around <= _OF_SOME:
        return plain not in names
    for word in around:
        plain = plain.replace(word, "")
    return plain not in names


def _stands_for_another(name: str, beside: Sequence[tuple[str, Json]], schema: Any) -> bool:
    """True for what is offered where there is none of what is asked for: `{"hotel": null, "closest_hotel": {...}}`."""
    if not beside or name.lower() in OF_ANSWERS:
        return False
    names = names_of_type(schema)
    if plain_name(name) in names:
        return False
    rest = "".join(word for word in words_of(name) if word not in _OF_ITSELF)
    is_itself = not rest or rest in names
    is_more = _ends_in(name, names)
    for other, held in beside:
        is_own, says_none = plain_name(other) in names, _says_none(held)
        if is_own and (says_none or (is_more and not is_itself)):
            return True
        if says_none and not (is_itself or _says_of_others(other)):
            parts = parts_of(other)
            if _ends_in(other, names) or (parts <= _OF_FINDINGS and parts & _FINDINGS):
                return True
    return False


def _ends_in(name: str, names: Collection[str]) -> bool:
    """True where its last words are one of these: `closest_hotel`."""
    words = words_of(name) if len(name) <= _LONGEST_NAME else []
    return any("".join(words[at:]) in names for at in range(len(words)))


def _says_of_others(name: str) -> bool:
    return bool(parts_of(name) & _OF_OTHERS_AROUND) or _NONE_OF_THEM.match(name) is not None


def _says_none(held: Json) -> bool:
    return held in NOTHING_SAID or (isinstance(held, str) and plain_name(held) in _NONE)


def only_speaks_of(content: Json, name: str, other: Json) -> bool:
    """True for a reason, a good state, a count, nothing beside the content: nothing is lost without it. Beside a lone
    scalar something may be; and an empty list beside another may be as much of what is asked for.
    """
    if not (is_object(content) or is_array(content)):
        return False
    parts = parts_of(name)
    if parts & _OF_OTHERS_BESIDE:
        return other in NOTHING_SAID
    if parts & OF_GOOD_STATES and not isinstance(other, str):
        return other is True or other == 1
    if parts & _OF_CODES and type(other) is int:
        return 200 <= other < 300
    if is_object(content) and other in ([], {}):
        return True
    if is_array(other):
        return bool(parts & _OF_ASIDES) and not any(is_object(each) or is_array(each) for each in other)
    if isinstance(other, str):
        if len(other) <= _SHORT and (_says_otherwise(other) or (is_of_state(parts) and not says_well(other))):
            return False
        return is_object(content) or LEFT_OUT.search(other) is None
    if is_array(content):
        return other is None or (type(other) is int and other == len(content))
    return other is None or other is True or type(other) in _NUMBERS


def _may_be_one_more(content: Json, name: str, other: Json) -> bool:
    """True for what is like a member of a map, whose names may be any: `{"kitchen": 1, "result": {"bath": 2}}`."""
    if not is_object(content) or (isinstance(other, str) and len(other) > _SHORT):
        return False
    parts = parts_of(name)
    members = list(islice(content.values(), MOST_BESIDE))  # the others are like these
    if type(other) in _NUMBERS:
        return not parts & (_OF_REMARKS | _OF_CODES) and any(type(each) in _NUMBERS for each in members)
    speaks = parts & (_OF_OTHER_WORDS | _OF_ANY_WORDS | _OF_WHOLES) or is_of_state(parts)
    alike = [each for each in members if type(each) is type(other)]
    return not speaks and any(not isinstance(other, str) or _are_alike(str(each), other) for each in alike)


def _are_alike(one: str, other: str) -> bool:
    """True but for a word beside a sentence or a date."""
    return _is_sentence(one) >= _is_sentence(other) and bool(_DATE.match(one)) >= bool(_DATE.match(other))


def _is_sentence(text: str) -> bool:
    return " " in text and text.endswith((".", "!", "?"))


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
