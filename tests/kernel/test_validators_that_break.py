"""Validators that say what cannot be said: flaws that are none, halves of characters. The call ends as for any no."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

import penstock
from penstock.abc import InvalidValueError, Validator
from penstock.errors import OutputInvalidError, UnsendableRequestError
from penstock.hookspecs import ValidatorSpec, hookimpl
from penstock.policy.json_values import Flaw
from penstock.testing import AnsweredKernel

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CITY = '{"city": "Oslo"}'
HALF = "\ud83d"
"""Half of a surrogate pair: JSON can escape one, and no wire carries it."""


class WithoutFlawsError(InvalidValueError):
    """A plugin's own class, which leaves out what its base makes."""

    def __init__(self) -> None:
        ValueError.__init__(self, "no")


class MuteError(InvalidValueError):
    """One that cannot be read."""

    def __str__(self) -> str:
        raise ZeroDivisionError


NOES: dict[str, Callable[[], InvalidValueError]] = {
    "flaws that are none": lambda: InvalidValueError("no", flaws=cast("Any", [5])),
    "a flaw of nothing": lambda: InvalidValueError(flaws=[Flaw(cast("Any", None), cast("Any", None))]),
    "a flaw without a place": lambda: InvalidValueError(flaws=[Flaw(cast("Any", 3), "is wrong")]),
    "no flaws at all": WithoutFlawsError,
    "no words": MuteError,
}


async def extract(kernel: penstock.Kernel, *validators: Any, max_repairs: int = 1) -> penstock.Extracted[Any]:
    return await kernel.extract(SCHEMA, "Where?", validators=validators, max_repairs=max_repairs)


def says_no(make: Callable[[], Exception]) -> Callable[[Any], Any]:
    def refuse(value: Any) -> Any:
        del value
        raise make()

    return refuse


@pytest.mark.parametrize("name", NOES)
def test_a_no_whose_flaws_are_none_is_told_as_a_validator_that_broke(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    kernel = AnsweredKernel([CITY, CITY])
    with pytest.raises(OutputInvalidError, match="does not fit what was asked for"):
        kernel.run(lambda k: extract(k, says_no(NOES[name])))
    assert "the validator refuse broke: " in caplog.text
    assert "could not be checked: refuse broke" in kernel.requests[1].messages[-1].text


def test_a_half_of_a_character_in_the_words_of_a_no_is_shown_to_the_model_as_json_writes_it() -> None:
    kernel = AnsweredKernel([CITY, CITY])
    with pytest.raises(OutputInvalidError):
        kernel.run(lambda k: extract(k, says_no(lambda: ValueError(f"unknown city Par{HALF}"))))
    assert "unknown city Par\\ud83d" in kernel.requests[1].messages[-1].text


@pytest.mark.parametrize("path", [f"$['{HALF}']", r"$['\x']", "$['\n']", '$["\0"]', "city", ""], ids=ascii)
def test_a_path_that_is_none_breaks_no_call(path: str) -> None:
    kernel = AnsweredKernel([CITY, CITY])
    with pytest.raises(OutputInvalidError) as caught:
        kernel.run(lambda k: extract(k, says_no(lambda: InvalidValueError(flaws=[Flaw(path, "is wrong")]))))
    assert caught.value.paths == (path,)


class MuteTypeError(TypeError):
    """Its words are foreign code as well."""

    def __str__(self) -> str:
        raise ZeroDivisionError


class Making:
    """A plugin that makes something of the word "odd"."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.of_odd = make

    def make(self, of: object) -> Validator | None:
        return cast("Validator | None", self.of_odd()) if of == "odd" else None

    @hookimpl
    def penstock_validators(self) -> Sequence[ValidatorSpec]:
        return [ValidatorSpec(name="maker", make=self.make)]


def raises_mute() -> Any:
    raise MuteTypeError


@pytest.mark.parametrize("make", [raises_mute, lambda: "a text"], ids=["mute", "no validator"])
@pytest.mark.parametrize("behind", [False, True], ids=["as the type", "behind one"])
def test_a_plugin_that_makes_no_validator_is_told_before_anything_is_sent(
    behind: bool,  # noqa: FBT001 - a parameter of the test
    make: Callable[[], Any],
) -> None:
    async def call(kernel: penstock.Kernel) -> None:
        if behind:
            await extract(kernel, ("maker", "odd"))
        else:
            await kernel.extract(cast("Any", "odd"), "Where?")

    kernel = AnsweredKernel([CITY], plugins=[Making(make)])
    with pytest.raises(UnsendableRequestError, match=r"^(validators|output): "):
        kernel.run(call)
    assert not kernel.requests
