"""What is found in the corpus of damaged outputs: the value that is meant, or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from damaged_outputs import OUTPUTS, DamagedOutput, same
from msgspec import UNSET

from penstock.policy.json_finding import Found, NotFound, find_json

JOINED = "two strings with an operator or nothing between them are read as one with quotes inside"
ENDLESS = "a number beyond what a double holds is read as infinite"
LEFT_OUT = "a comment that stands for content is dropped"
NOT_YET = {
    "mean-030": LEFT_OUT,
    "mean-031": LEFT_OUT,
    "note-094": JOINED,
    "note-095": JOINED,
    "note-096": JOINED,
    "note-097": JOINED,
    "note-098": JOINED,
    "note-099": JOINED,
    "note-101": JOINED,
    "note-102": JOINED,
    "note-104": ENDLESS,
    "note-105": ENDLESS,
}
"""What the finder still guesses, and why. One that it guesses no more fails, until it is taken from here."""

REFUSED = [output for output in OUTPUTS if output.refuse is not UNSET]
WANTED = [output for output in OUTPUTS if output.refuse is UNSET]


@pytest.mark.parametrize("output", WANTED, ids=[output.id for output in WANTED])
def test_the_value_that_is_meant_is_found_and_no_other(output: DamagedOutput) -> None:
    match find_json(output.text, output.schema):
        case Found(value):
            assert same(value, output.want)
        case NotFound(reason, says):
            assert output.or_refuse, f"{reason}: {says}"


def refused() -> list[Any]:
    marks = {name: pytest.mark.xfail(strict=True, reason=reason) for name, reason in NOT_YET.items()}
    return [pytest.param(output, id=output.id, marks=marks.get(output.id, ())) for output in REFUSED]


@pytest.mark.parametrize("output", refused())
def test_nothing_is_guessed(output: DamagedOutput) -> None:
    found = find_json(output.text, output.schema)
    assert isinstance(found, NotFound), found
    assert found.reason in output.reasons, found.says


def test_what_is_called_sound_is_found_without_repair() -> None:
    for output in OUTPUTS:
        if output.kind == "sound":
            found = find_json(output.text, output.schema)
            assert isinstance(found, Found), output.id
            assert found.repairs == (), output.id
