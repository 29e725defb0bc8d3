"""What a model wraps its answer in is taken off, where nothing that it says is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.policy.json_finding import Found, NotFound, find_json

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
PEOPLE = {"type": "array", "items": PERSON}
COUNTED = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
COUNTS = {"type": "object", "additionalProperties": {"type": "integer"}}
ADA = {"name": "Ada", "age": 36}
WRITTEN = json.dumps(ADA)
QUOTED = json.dumps(WRITTEN)
CALL = {"id": "call_1", "type": "function", "index": 0, "function": {"name": "answer", "arguments": WRITTEN}}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"value": WRITTEN}),
        json.dumps({"result": WRITTEN}),
        f'{{"value": {WRITTEN}, "reason": "z"}}',
        f'{{"reasoning": "She was born in 1815. Not much else is known.", "answer": {WRITTEN}}}',
        f'{{"status": "ok", "data": {WRITTEN}}}',
        f'{{"confidence": 0.9, "person": {WRITTEN}}}',
        f'[TOOL_CALLS][{{"name": "answer", "arguments": {WRITTEN}}}]',
        f'<tool_call>\n{{"name": "answer", "arguments": {WRITTEN}}}\n</tool_call>',
        json.dumps({"name": "answer", "arguments": WRITTEN}),
        json.dumps({"tool_calls": [{"name": "answer", "arguments": ADA}]}),
        json.dumps({"tool_calls": [{"function": {"name": "answer", "arguments": WRITTEN}}]}),
        json.dumps({"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None}),
        json.dumps([CALL]),
        json.dumps({"function_call": CALL["function"]}),
        f'{{"jsonrpc": "2.0", "error": null, "result": {WRITTEN}, "id": 1}}',
        f'{{"success": true, "data": {WRITTEN}, "errors": []}}',
        f'{{"status": 200, "data": {WRITTEN}}}',
        f'{{"thoughts": ["a date of birth", "a name"], "answer": {WRITTEN}, "sources": [3, 4]}}',
    ],
)
def test_one_answer_in_an_envelope_is_found(text: str) -> None:
    answer = find_json(text, PERSON)
    assert isinstance(answer, Found), answer
    assert answer.value == ADA


@pytest.mark.parametrize(
    "text",
    [f'{{"items": [{WRITTEN}], "count": 1}}', f'{{"reasoning": "One is named.", "people": [{WRITTEN}]}}'],
)
def test_a_list_in_an_envelope_is_found(text: str) -> None:
    answer = find_json(text, PEOPLE)
    assert isinstance(answer, Found), answer
    assert answer.value == [ADA]


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        (f'{{"draft": {WRITTEN}, "answer": {WRITTEN}}}', PERSON),
        (json.dumps({"tool_calls": [CALL, {**CALL, "id": "call_2"}]}), PERSON),
        (json.dumps({"tool_calls": [CALL], "error": "it was not called"}), PERSON),
        (f'{{"name": "answer", "arguments": {WRITTEN}, "error": "unknown"}}', COUNTED),
        (f'{{"name": "answer", "arguments": {WRITTEN}, "status": "failed"}}', COUNTED),
        (f'{{"name": "answer", "input": {QUOTED}, "success": false}}', COUNTED),
        (f'{{"name": "answer", "arguments": {WRITTEN}, "correction": {WRITTEN}}}', COUNTED),
        ('{"metadata": {"version": 1}}', COUNTS),
        ('{"unmatched": {"a": 1}}', COUNTS),
        ('{"discarded_counts": {"a": 1}}', COUNTS),
        (json.dumps({"tool_calls": [CALL], "content": "No, he is 37."}), PERSON),
        (json.dumps({"tool_calls": [CALL], "name": "Bob"}), PERSON),
        (f'{{"status": "failed", "data": {WRITTEN}}}', PERSON),
        (f'{{"valid": false, "data": {WRITTEN}}}', PERSON),
        (f'{{"error": "none found", "data": {WRITTEN}}}', PERSON),
        (f'{{"status": 404, "data": {WRITTEN}}}', PERSON),
        (f'{{"ok": 0, "data": {WRITTEN}}}', PERSON),
        (f'{{"data": {WRITTEN}, "correction": "he is 37"}}', PERSON),
        (f'{{"dummy": {WRITTEN}}}', PERSON),
        (f'{{"data": {WRITTEN}, "people": [{{"name": "Bob"}}]}}', PERSON),
        (f'{{"items": [{WRITTEN}], "next_cursor": "b2Zm"}}', PEOPLE),
        (f'{{"items": [{WRITTEN}], "count": 97}}', PEOPLE),
        (f'{{"items": [{WRITTEN}], "has_more": true}}', PEOPLE),
        (f'{{"items": [{WRITTEN}], "note": "The remaining ones are left out."}}', PEOPLE),
        ('{"result": 42, "unit": "thousands"}', {"type": "integer"}),
        ('{"kitchen": 1, "result": {"bath": 2}}', {"type": "object", "additionalProperties": {"type": "integer"}}),
        (json.dumps({"text": f"The format is {WRITTEN}, but I found nobody."}), PERSON),
    ],
)
def test_an_envelope_that_says_more_of_its_content_is_not_opened(text: str, schema: dict[str, Any]) -> None:
    assert isinstance(find_json(text, schema), NotFound)


@pytest.mark.parametrize(
    "beside", ['"confidence": 0.9', '"status": 200', '"reasoning": "two rooms"', '"usage": 12'], ids=str
)
def test_what_speaks_of_a_map_of_numbers_is_no_number_of_it(beside: str) -> None:
    schema = {"type": "object", "additionalProperties": {"type": "integer"}}
    found = find_json(f'{{{beside}, "result": {{"kitchen": 1, "bath": 2}}}}', schema)
    assert isinstance(found, Found)
    assert found.value == {"kitchen": 1, "bath": 2}


MAP_OF_LISTS = {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}}
MAP_OF_OBJECTS = {"type": "object", "additionalProperties": PERSON}
MAP_OF_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
MAP_OF_FLAGS = {"type": "object", "additionalProperties": {"type": "boolean"}}
MAP_OF_NULLS = {"type": "object", "additionalProperties": {"type": ["integer", "null"]}}


@pytest.mark.parametrize(
    ("members", "schema"),
    [
        (['"result": {"north": ["rye"]}', '"south": []'], MAP_OF_LISTS),
        ([f'"data": {{"ada": {WRITTEN}}}', '"bob": {}'], MAP_OF_OBJECTS),
        (['"de": "Hallo"', '"result": {"fr": "Salut"}'], MAP_OF_TEXTS),
        (['"rye": true', '"result": {"oats": false}'], MAP_OF_FLAGS),
        (['"rye": null', '"result": {"oats": null, "oak": 1}'], MAP_OF_NULLS),
    ],
    ids=str,
)
def test_a_member_of_a_map_is_not_left_beside_the_envelope_of_the_others(
    members: list[str], schema: dict[str, Any]
) -> None:
    for told in (members, members[::-1]):
        assert isinstance(find_json(f"{{{', '.join(told)}}}", schema), NotFound), told


@pytest.mark.parametrize(
    ("told", "schema"),
    [
        *((f'{{"result": {{"a": ["rye"]}}, "{name}": []}}', MAP_OF_LISTS) for name in ("warnings", "notes", "errors")),
        *((f'{{"result": {{"a": ["rye"]}}, "{name}": ["p. 2"]}}', MAP_OF_LISTS) for name in ("sources", "steps")),
        ('{"result": {"a": ["rye"]}, "metadata": {}, "summary": "Rye in one field."}', MAP_OF_LISTS),
        (f'{{"result": {{"a": {WRITTEN}}}, "metadata": {{}}, "missing": []}}', MAP_OF_OBJECTS),
        ('{"language": "fr", "status": "ok", "result": {"a": "Salut"}, "note": "casual"}', MAP_OF_TEXTS),
        ('{"outcome": "success", "result": {"a": "Salut"}}', MAP_OF_TEXTS),
        ('{"result": {"a": "Salut"}, "summary": "One greeting is translated, as friends say it."}', MAP_OF_TEXTS),
        ('{"success": true, "result": {"a": false}}', MAP_OF_FLAGS),
        ('{"result": {"a": null}, "error": null}', MAP_OF_NULLS),
    ],
    ids=str,
)
def test_what_speaks_of_a_map_is_no_member_of_it(told: str, schema: dict[str, Any]) -> None:
    found = find_json(told, schema)
    assert isinstance(found, Found), found
    assert found.value == json.loads(told)["result"]


def test_json_in_a_string_is_read_where_nothing_says_that_a_string_is_wanted() -> None:
    assert find_json(json.dumps(WRITTEN)) == Found(ADA, ("quoted",))
    assert find_json(json.dumps(WRITTEN), {"type": "string"}) == Found(WRITTEN)


ALL_OPTIONAL = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}


@pytest.mark.parametrize(
    "text",
    [
        '{"result": {"name": "Ada", "age": "36"}}',
        '{"Name": "Ada", "Age": 36}',
        '{"error": "nobody is named"}',
        '[{"Name": "Ada"}]',
        'The format is {"name": 5}. {"people": ["Ada"]}',
    ],
)
def test_an_object_of_other_names_alone_is_not_taken_for_one_of_nothing_but_defaults(text: str) -> None:
    for schema in (ALL_OPTIONAL, {"type": "array", "items": ALL_OPTIONAL}):
        answer = find_json(text, schema)
        assert isinstance(answer, NotFound), answer
        assert answer.flaws


@pytest.mark.parametrize("value", [{}, {"name": "Ada"}, {"name": "Ada", "born": 1815}])
def test_an_object_that_leaves_out_what_is_optional_is_found(value: dict[str, Any]) -> None:
    assert find_json(json.dumps(value), ALL_OPTIONAL) == Found(value)


def test_where_any_name_will_do_every_name_does() -> None:
    said = {"x": 1}
    open_to_more: list[dict[str, Any]] = [
        {"additionalProperties": True},
        {"additionalProperties": {"type": "integer"}},
        {"properties": {}},
    ]
    for more in open_to_more:
        assert find_json(json.dumps(said), {**ALL_OPTIONAL, **more}) == Found(said)


def test_an_envelope_is_opened_where_what_is_asked_for_is_all_optional() -> None:
    assert find_json(f'{{"result": {WRITTEN}}}', ALL_OPTIONAL) == Found(ADA, ("envelope",))


MOOD = {"enum": ["positive", "negative"]}
TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
MOODS = {"type": "array", "items": MOOD}


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ('{"label": "positive"}', MOOD, "positive"),
        ('{"sentiment": "positive"}', MOOD, "positive"),
        ('{"status": "positive"}', MOOD, "positive"),
        ('{"keywords": ["a", "b"]}', TEXTS, ["a", "b"]),
        ('{"moods": ["positive"]}', MOODS, ["positive"]),
        ('{"capital": "Rome"}', TEXT, "Rome"),
        ('{"capital": "Rome"}', {"anyOf": [TEXT, {"type": "null"}]}, "Rome"),
    ],
)
def test_words_under_a_name_of_the_models_own_are_found(text: str, schema: dict[str, Any], value: Any) -> None:
    for told in ("%s", "```json\n%s\n```", "<answer>%s</answer>", "<think>Is it?</think>\n%s"):
        answer = find_json(told.replace("%s", text), schema)
        assert isinstance(answer, Found), (told, answer)
        assert answer.value == value


@pytest.mark.parametrize("text", ['{"label": "positive"}', '{"keywords": ["positive", "b"]}'])
def test_words_that_are_shown_are_found_among_prose(text: str) -> None:
    schema = MOOD if "label" in text else TEXTS
    answer = find_json(f"Here you are:\n\n```json\n{text}\n```\n\nThat is all.", schema)
    assert isinstance(answer, Found), answer
    assert isinstance(find_json(f"I was given {text}, and it is unclear.", schema), NotFound)


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        *((f'{{"{name}": ["a"]}}', TEXTS) for name in ("errors", "warnings", "missing_fields", "options", "examples")),
        *((f'{{"{name}": ["a"]}}', TEXTS) for name in ("questions", "sources", "steps", "excludedKeywords", "notes")),
        *((f'{{"{name}": "Rome"}}', TEXT) for name in ("error", "question", "clarification", "reason", "message")),
        *((f'{{"{name}": "Rome"}}', TEXT) for name in ("note", "action", "tool", "status", "type", "query")),
        ('{"confidence": "positive"}', MOOD),
        ('{"not": "positive"}', MOOD),
        ('{"default": "positive"}', MOOD),
        ('{"label": "Positive"}', MOOD),
        ('{"label": "positive", "score": 0.9}', MOOD),
        ('{"label": "positive"}\n{"label": "negative"}', MOOD),
        ('{"label": "positive"}\n\n**negative**', MOOD),
        ('{"label": "positive"} or rather "negative"', MOOD),
        ('{"keywords": []}', TEXTS),
        ('{"keywords": ["a", 1]}', TEXTS),
        ('{"tags": ["a"], "keywords": ["b"]}', TEXTS),
        ('{"style": "formal"}\n\nThe capital is Rome.', TEXT),
        ('Here: {"capital": "Rome"}', TEXT),
        ('{"name": "Ada"}', {"anyOf": [TEXT, PERSON]}),
        ('{"names": ["Ada"]}', {"anyOf": [TEXTS, PEOPLE]}),
        ('{"price_in_cents": 5}', {"type": "integer"}),
        ('{"not_spam": true}', {"type": "boolean"}),
    ],
)
def test_words_that_may_be_something_else_are_not_taken_from_under_their_name(
    text: str, schema: dict[str, Any]
) -> None:
    assert isinstance(find_json(text, schema), NotFound)


def test_a_list_that_stands_there_by_itself_goes_before_one_under_a_name() -> None:
    answer = find_json('Given {"words": ["a b"]}:\n```json\n["a"]\n```', TEXTS)
    assert isinstance(answer, Found)
    assert answer.value == ["a"]


@pytest.mark.parametrize(
    "name",
    [
        *("superseded", "retracted", "cancelled", "denied", "disputed", "hypothetical", "alternative", "unconfirmed"),
        *("duplicate_of", "projected", "prior", "excluded", "removedPerson", "unrelated", "no_match", "noMatch"),
    ],
)
def test_what_is_under_the_name_of_another_thing_is_not_taken(name: str) -> None:
    assert isinstance(find_json(json.dumps({name: ADA}), PERSON), NotFound)
    assert isinstance(find_json(json.dumps({"person": ADA, name: None}), PERSON), Found)


@pytest.mark.parametrize("name", ["duplicate_report", "DuplicateReport", "Duplicate report"])
def test_a_type_may_have_such_a_name_itself(name: str) -> None:
    answer = find_json(json.dumps({name: ADA}), PERSON | {"title": "DuplicateReport"})
    assert isinstance(answer, Found), answer
    assert answer.value == ADA


CLAIM = PERSON | {"title": "Claim"}
POLICY = PERSON | {"title": "InsurancePolicy"}


@pytest.mark.parametrize("name", ["denied_claim", "claim_denied", "DuplicateClaim", "prior claim", "disputed_claims"])
def test_what_the_type_is_called_with_such_a_word_may_be_asked_for(name: str) -> None:
    below = {"$ref": "#/$defs/Claim", "$defs": {"Claim": CLAIM}}
    for schema in (CLAIM, below):
        answer = find_json(json.dumps({name: ADA}), schema)
        assert isinstance(answer, Found), answer
        assert answer.value == ADA
    rows = {"type": "array", "items": {"$ref": "#/$defs/Claim"}, "$defs": {"Claim": CLAIM}}
    answer = find_json(json.dumps({name: [ADA]}), rows)
    assert isinstance(answer, Found), answer
    assert answer.value == [ADA]


@pytest.mark.parametrize("name", ["prior_insurance_policy", "cancelledInsurancePolicies", "Projected insurance policy"])
def test_many_of_a_type_are_called_so_too(name: str) -> None:
    for value, schema in ((ADA, POLICY), ([ADA], {"type": "array", "items": POLICY})):
        answer = find_json(json.dumps({name: value}), schema)
        assert isinstance(answer, Found), answer
        assert answer.value == value


@pytest.mark.parametrize(
    "name", ["denied", "prior_claimant", "no_claim", "noClaims", "old_claim", "example_claims", "denied_person"]
)
def test_with_another_word_it_is_something_else_all_the_same(name: str) -> None:
    assert isinstance(find_json(json.dumps({name: ADA}), CLAIM), NotFound)
    assert isinstance(find_json(json.dumps({name: [ADA]}), {"type": "array", "items": CLAIM}), NotFound)


@pytest.mark.parametrize("name", ["discarded_claim", "hypothetical_claim", "excluded_claims", "unrelated_claims"])
def test_what_nobody_asks_for_is_not_taken_although_it_bears_the_name_of_the_type(name: str) -> None:
    assert isinstance(find_json(json.dumps({name: ADA}), CLAIM), NotFound)
    assert isinstance(find_json(json.dumps({name: [ADA]}), {"type": "array", "items": CLAIM}), NotFound)
    own = CLAIM | {"title": name.title().replace("_", "")}
    assert isinstance(find_json(json.dumps({name: ADA}), own), Found), "its own name"


@pytest.mark.parametrize("nothing", ['"claim": null', '"claim": ""', '"claim": {}', '"claims": []', '"claim": "N/A"'])
@pytest.mark.parametrize(
    "name", ["superseded_claim", "alternative_claim", "closest_claim", "nearest_match", "suggestion"]
)
def test_what_is_offered_where_there_is_no_such_thing_is_not_taken(nothing: str, name: str) -> None:
    offered = json.dumps(ADA)
    assert isinstance(find_json(f'{{{nothing}, "{name}": {offered}}}', CLAIM), NotFound)
    assert isinstance(find_json(f'{{"{name}": {offered}, {nothing}}}', CLAIM), NotFound)


@pytest.mark.parametrize("title", ["", "_", "Laim"])
def test_the_name_of_a_type_is_made_of_words(title: str) -> None:
    answer = find_json(f'{{"closest": {json.dumps(ADA)}, "claim": null}}', PERSON | {"title": title})
    assert isinstance(answer, Found), answer


@pytest.mark.parametrize(
    "beside", ['"claim": "withdrawn"', '"matches": []', '"result": null', '"requested_claim": null']
)
def test_nor_is_it_where_that_is_said_in_other_words(beside: str) -> None:
    assert isinstance(find_json(f'{{{beside}, "closest_claim": {json.dumps(ADA)}}}', CLAIM), NotFound)


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        *(("claim", beside) for beside in ('"closest_claim": null', '"match": null', '"prior_claims": []')),
        *(("details", beside) for beside in ('"claim": "A-12"', '"prior_claim": null', '"no_match": null')),
        *(("chosen", beside) for beside in ('"prior_claim": null', '"no_match": null', '"notes": ""')),
        *(("record", beside) for beside in ('"search_results": []', '"match_score": null', '"other_claim": null')),
        *(("claim_info", beside) for beside in ('"match": null', '"linked_claim": null', '"claim": "A-12"')),
        *(("extracted_claim", beside) for beside in ('"claim": "A-12.pdf"', '"claim": 1', '"matches": []')),
        *(("denied_claim", beside) for beside in ('"reason": "too late"', '"confidence": 0.9', '"notes": null')),
    ],
)
def test_what_there_is_none_of_beside_a_value_says_nothing_of_it(name: str, beside: str) -> None:
    answer = find_json(f'{{{beside}, "{name}": {json.dumps(ADA)}}}', CLAIM)
    assert isinstance(answer, Found), answer
    assert answer.value == ADA


@pytest.mark.parametrize(
    "beside",
    ['"timestamp": "2025-01-01T00:00Z"', '"summary": "Two."', '"currency": "EUR"', '"about": "Two greetings."'],
)
def test_what_is_said_of_a_map_as_a_whole_is_no_member_of_it(beside: str) -> None:
    greetings = {"type": "object", "additionalProperties": {"type": "string"}}
    answer = find_json(f'{{"result": {{"de": "Hallo", "fr": "Salut"}}, {beside}}}', greetings)
    assert isinstance(answer, Found), answer
    assert answer.value == {"de": "Hallo", "fr": "Salut"}
    assert isinstance(find_json('{"result": {"de": "Hallo"}, "it": "Buon giorno"}', greetings), NotFound)


@pytest.mark.parametrize(("name", "held"), [("incomplete", True), ("hallucinated", True), ("refusal", "I cannot")])
def test_what_says_beside_it_that_it_is_no_answer_is_heard(name: str, held: Any) -> None:
    assert isinstance(find_json(json.dumps({"person": ADA, name: held}), PERSON), NotFound)
    for nothing in (None, False, ""):
        assert isinstance(find_json(json.dumps({"person": ADA, name: nothing}), PERSON), Found)


@pytest.mark.parametrize("name", ["metadata", "headers", "unmatched", "discarded", "duplicates", "superseded_names"])
def test_lists_of_texts_of_other_things_are_not_taken(name: str) -> None:
    assert isinstance(find_json(json.dumps({name: ["a"]}), TEXTS), NotFound)


@pytest.mark.parametrize("nothing", [[], {}, None])
@pytest.mark.parametrize("name", ["warnings", "notes", "issues", "metadata", "missing", "errors"])
def test_an_empty_list_or_object_beside_it_says_nothing(name: str, nothing: Any) -> None:
    answer = find_json(json.dumps({"person": ADA, name: nothing}), PERSON)
    assert isinstance(answer, Found), answer
    assert answer.value == ADA
    assert isinstance(find_json(json.dumps({"person": ADA, "people": [ADA | {"age": 3}]}), PERSON), NotFound)


def test_an_empty_list_beside_a_list_may_be_as_much_of_the_answer() -> None:
    assert isinstance(find_json(json.dumps({"added": [ADA], "departed": []}), PEOPLE), NotFound)
