"""Ids of tool calls take the form a wire demands: apart, paired, the same tomorrow, and untouched where they fit."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.tool_ids import fits, remapped
from penstock.types import ToolCallIdForm

ANTHROPIC = ToolCallIdForm(symbols="_-")
OPENAI = ToolCallIdForm(longest=40)
MISTRAL = ToolCallIdForm(symbols="", shortest=9, longest=9)
SMALL = ToolCallIdForm(symbols="", longest=8)
PATTERNS = {
    ANTHROPIC: re.compile(r"[a-zA-Z0-9_-]+"),
    OPENAI: re.compile(r".{1,40}", re.DOTALL),
    MISTRAL: re.compile(r"[a-zA-Z0-9]{9}"),
    SMALL: re.compile(r"[a-zA-Z0-9]{1,8}"),
}
"""What the vendors' own error messages demand."""
RECORDED = [
    "toolu_013SoGG7WGX1WJNCBPBZaury",
    "call_62136355",
    "chatcmpl-tool-1b4c179a4d8c4d49b484d3a35f47ff3f",
    "functions.Bash:0",
    "D681PevKs",
    "ws_689e2d4880a0819d98acca37694989b00b15d90494fc6b87",
    "",
    "Київ",
    "\ud800",
    "\udfff",
]
IDS = st.lists(st.sampled_from(RECORDED) | st.text(max_size=50) | st.from_regex(r"[a-z0-9]{9}", fullmatch=True))
FORMS = st.sampled_from(list(PATTERNS))


@given(IDS, FORMS)
def test_ids_fit_stay_apart_and_are_left_alone_where_they_fit(ids: list[str], form: ToolCallIdForm) -> None:
    new = remapped(ids, form)
    sent = {id: new.get(id, id) for id in ids}
    assert all(PATTERNS[form].fullmatch(id) for id in sent.values())
    assert len(set(sent.values())) == len(set(ids))
    assert all(sent[id] == id for id in ids if PATTERNS[form].fullmatch(id))
    assert all(fits(id, form) == (PATTERNS[form].fullmatch(id) is not None) for id in ids)


@given(IDS, IDS, FORMS)
def test_a_conversation_that_goes_on_keeps_the_ids_it_was_given(
    ids: list[str], later: list[str], form: ToolCallIdForm
) -> None:
    before, after = remapped(ids, form), remapped([*ids, *later], form)
    assert before.items() <= after.items()


def test_new_ids_are_the_same_in_every_process() -> None:
    assert remapped(["functions.Bash:0"], ANTHROPIC) == {"functions.Bash:0": "PV8AfbNBUGddyECKzUtfAXsu"}
    assert remapped(["call_62136355"], MISTRAL) == {"call_62136355": "AB98ThBop"}


def test_a_new_id_that_stands_in_the_conversation_already_gives_way() -> None:
    taken = remapped(["call_62136355"], MISTRAL)["call_62136355"]
    new = remapped(["call_62136355", taken], MISTRAL)
    assert new.keys() == {"call_62136355"}
    assert new["call_62136355"] != taken


def test_long_ids_are_made_where_a_wire_wants_them() -> None:
    (made,) = remapped(["x"], ToolCallIdForm(symbols="", shortest=100)).values()
    assert re.fullmatch(r"[a-zA-Z0-9]{100}", made)


@pytest.mark.parametrize(("shortest", "longest"), [(1, 7), (10, 9), (1, 0)])
def test_a_form_in_which_ids_would_meet_is_none(shortest: int, longest: int) -> None:
    with pytest.raises(ValueError, match="longest"):
        ToolCallIdForm(shortest=shortest, longest=longest)
