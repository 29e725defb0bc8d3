"""A comment that may be content, or hide some, is not passed over; one that is a comment to any reader is."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.policy.json_finding import Found, NotFound, find_json

POST = {
    "type": "object",
    "properties": {
        "body": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "done": {"type": "boolean"},
    },
    "required": ["body"],
}


@pytest.mark.parametrize(
    "text",
    [
        '{"body": "x", "tags": [\n#AI,\n#ML\n]}',
        '{"body": "x", "tags": [\n"a"\n#b\n]}',
        '{"body": "x", "tags": [\n"a",\n#b\n]}',
        '{"body": "x", "tags": ["a", #b,\n"c"]}',
        '{"body": "x", "tags": [#b\n]}',
        '{"body": "x", "tags": [\n//cdn.example/a.js\n]}',
        '{"body": "x", "tags": [\n"a",\n//cdn.example/a.js\n]}',
        '{"body": #1\n"x"}',
        '{"tags": [ // what it is about\n], "body": "x"}',
        '{"tags": [ /* one, none other */ ], "body": "x"}',
    ],
)
def test_what_looks_like_a_comment_in_the_place_of_content_is_not_lost(text: str) -> None:
    found = find_json(text, POST)
    assert isinstance(found, NotFound)
    assert found.reason == "damaged"


@pytest.mark.parametrize("fence", ["%s", "```json\n%s\n```"])
@pytest.mark.parametrize(
    "text",
    [
        '{"body": "x" // a post, "done": true}',
        '{"body": "x" // a post, done}',
        '{"body": "x" // a post, "done": true\n}',
        '{"body": "x" // a post, done: true',
        '{"body": "x" # a post, "done": true }',
        '{"body": "x", "tags": ["a" // one]\n, "done": true}',
        '{"body": "x", // a post "done": true,\n "tags": ["a"]}',
    ],
)
def test_a_comment_takes_no_members_and_no_brackets_with_it(fence: str, text: str) -> None:
    assert isinstance(find_json(fence.replace("%s", text), POST), NotFound)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"body": "x" // a post, "short"\n, "tags": []}', {"body": "x", "tags": []}),
        ('{\n#post\n"body": "x", #text\n"done": true #yes\n}', {"body": "x", "done": True}),
        ('{"body": "x", "tags": ["a", #one\n"b" #two\n]}', {"body": "x", "tags": ["a", "b"]}),
        ('{"body": "x", "tags": [\n// "a",\n"b"\n]}', {"body": "x", "tags": ["b"]}),
        ('{"body": "x", "tags": [\n# none\n]}', {"body": "x", "tags": []}),
        ('{"body": "x", // see a[0]\n"done": true // at last', {"body": "x", "done": True}),
        ('{"body": /* its text */ "x"}', {"body": "x"}),
        ('{\n"body": "x" // one of "low", "medium", "high"\n}', {"body": "x"}),
        ('{\n"body": "x" # note: "typo", not a bug\n}', {"body": "x"}),
        ('{"body": // its text\n "x"}', {"body": "x"}),
    ],
)
def test_what_is_a_comment_to_any_reader_is_passed_over(text: str, value: Any) -> None:
    found = find_json(text, POST)
    assert isinstance(found, Found), found
    assert found.value == value
    assert "comments" in found.repairs
