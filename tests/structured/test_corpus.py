"""What is found in the corpus of damaged outputs: the value that is meant, or nothing."""

from __future__ import annotations

import pytest
from damaged_outputs import OUTPUTS, DamagedOutput, same
from msgspec import UNSET

from penstock.policy.json_finding import Found, NotFound, find_json

REFUSED = [output for output in OUTPUTS if output.refuse is not UNSET]
WANTED = [output for output in OUTPUTS if output.refuse is UNSET]


@pytest.mark.parametrize("output", WANTED, ids=[output.id for output in WANTED])
def test_the_value_that_is_meant_is_found_and_no_other(output: DamagedOutput) -> None:
    match find_json(output.text, output.schema):
        case Found(value):
            assert same(value, output.want)
        case NotFound(reason, says):
            assert output.or_refuse, f"{reason}: {says}"


@pytest.mark.parametrize("output", REFUSED, ids=[output.id for output in REFUSED])
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
