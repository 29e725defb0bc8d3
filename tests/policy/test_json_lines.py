"""Values on lines of their own are the list that is asked for, however many there are."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.policy.json_finding import Found, NotFound, find_json

ROW = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
ROWS = {"type": "array", "items": ROW}


def rows(count: int) -> list[dict[str, str]]:
    return [{"name": f"row, }}\n {{ {number}"} for number in range(count)]


def lines(count: int, ending: str = "\n") -> str:
    return ending.join(json.dumps(row) for row in rows(count))


TEXTS = st.text(st.sampled_from('ab"\\\n{}[],:é。'), max_size=8)
ANY_ROW = st.fixed_dictionaries(
    {"name": TEXTS}, optional={"tags": st.lists(TEXTS, max_size=2), "n": st.integers(0, 99)}
)
BEFORE = (
    "",
    "Here:\n",
    "```jsonl\n",
    "<think>{}</think>\n",
    "The columns {x} were read [1].\n",
    '[{"name": "x"}]\n',
    "null\n",
)
BEHIND = (
    "",
    "\n",
    "\n```",
    "\n\nThat is all.",
    '\n{"name": ',
    "\n...",
    '\n{"nam": 1}',
    "\nnull",
    '\n{"error": "cut"}',
    "\n]",
)
WHOLE = {("", ""), ("", "\n"), ("Here:\n", ""), ("Here:\n", "\n\nThat is all."), ("```jsonl\n", "\n```")}


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_lines_of_any_values_are_that_list_or_nothing(data: st.DataObject) -> None:
    some = data.draw(st.lists(ANY_ROW, min_size=2, max_size=5))
    value = some * data.draw(st.sampled_from([1, 20, 50]))
    ending = data.draw(st.sampled_from(["\n", ",\n", "\r\n", "\n\n", " \n"]))
    ascii_only = data.draw(st.booleans())
    before, behind = data.draw(st.sampled_from(BEFORE)), data.draw(st.sampled_from(BEHIND))
    text = before + ending.join(json.dumps(row, ensure_ascii=ascii_only) for row in value) + behind
    found = find_json(text, ROWS)
    assert not isinstance(found, Found) or found.value == value, text
    assert isinstance(found, Found) or (before, behind) not in WHOLE, text


@pytest.mark.parametrize("count", [2, 63, 64, 65, 70, 500])
@pytest.mark.parametrize(
    "told",
    [
        "%s",
        "%s\n",
        "```jsonl\n%s\n```",
        "Here:\n%s\n\nThat is all.",
        "Here:\n```\n%s\n```\nDone.",
        "<rows>\n%s\n</rows>",
    ],
)
def test_lines_are_a_list_however_many_there_are(count: int, told: str) -> None:
    for ending in ("\n", ",\n", "\r\n", "\n\n"):
        found = find_json(told.replace("%s", lines(count, ending)), ROWS)
        assert isinstance(found, Found), (told, found)
        assert found.value == rows(count)
        assert "lines" in found.repairs


def test_lines_with_damaged_notation_are_a_list() -> None:
    found = find_json("\n".join(repr({"name": f"row {number}"}) for number in range(200)), ROWS)
    assert isinstance(found, Found)
    assert len(found.value) == 200


@pytest.mark.parametrize("count", [3, 70, 3_000])
@pytest.mark.parametrize(
    "behind", ['\n{"name": ', '\n{"name": "x', "\n...", "\n… and more", "\n{", '\n{"nam": 1}', "\nnull"]
)
def test_lines_are_no_list_where_one_is_cut_or_wrong(count: int, behind: str) -> None:
    assert isinstance(find_json(lines(count) + behind, ROWS), NotFound)


@pytest.mark.parametrize("count", [3, 70])
def test_lines_are_no_list_beside_an_example_of_one(count: int) -> None:
    assert isinstance(find_json(f'Format: [{{"name": "x"}}]\n{lines(count)}', ROWS), NotFound)


@pytest.mark.parametrize("count", [3, 70])
def test_lines_are_no_list_where_one_value_is_asked_for(count: int) -> None:
    assert isinstance(find_json(lines(count), ROW), NotFound)


def test_a_comma_missing_in_a_list_of_many_lines_is_a_line_of_no_other_list() -> None:
    broken = "[" + lines(70).replace("\n", ",\n", 60) + "]"
    found = find_json(broken, ROWS)
    assert isinstance(found, Found)
    assert found.value == rows(70)


def test_the_time_for_lines_is_linear() -> None:
    def seconds(count: int) -> float:
        text = lines(count)
        took: list[float] = []
        for _ in range(3):
            began = time.process_time()
            assert isinstance(find_json(text, ROWS), Found)
            took.append(time.process_time() - began)
        return min(took)

    assert seconds(40_000) < 16 * seconds(5_000)


HOSTILE = {
    "lines that do not fit": "[1]\n" * 250_000,
    "a last line that does not fit": '{"name": "x"}\n' * 70_000 + '{"name": 1}\n',
    "a last line that is none": '{"name": "x"}\n' * 70_000 + "{name}\n",
    "short runs": ("{}\n" * 60 + "x\n") * 5_500,
    "a fence for each": '```json\n{"v":"x"}\n```\n' * 47_000,
    "a fence for each list": 'Row:\n```json\n[{"name":"x"}]\n```\n\n' * 30_000,
    "lines that end in no bracket": "{x\n" * 330_000,
    "thoughts": "Thought: {}\n" * 80_000,
    "full-width brackets": '\uff5b"a"\n' * 200_000,
    "quotations": "> {\n" * 200_000,
    "labels": "a: " * 330_000 + "{}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_megabyte_of_hostile_lines_ends_at_once(name: str) -> None:
    began = time.process_time()
    assert isinstance(find_json(HOSTILE[name], ROWS), NotFound)
    assert time.process_time() - began < 0.25  # 50 ms on a machine that does nothing else
