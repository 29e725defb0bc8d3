"""Strings that must match: the value itself, or what stands at a path in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from penstock.abc import InvalidValueError, Validator
from penstock.hookspecs import ValidatorSpec, hookimpl
from penstock.policy.json_values import Flaw, is_array, is_object

__all__ = ["Regex", "penstock_validators"]

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\*)\]")


_FLAGS = {re.IGNORECASE: "ignoring case", re.DOTALL: "dots match line breaks", re.MULTILINE: "^ and $ match at lines"}


class Regex(Validator):
    """`Regex(r"[A-Z]{3}", path="$.currency")`: one of the validators that can stand behind a type.

    The whole string has to match. A compiled pattern keeps its flags. `path` may have `[*]` for every item. What is not
    there, or no string, is for the type to judge. Raises ValueError for a pattern or a path that is none.
    """

    takes_json = True

    def __init__(self, pattern: str | re.Pattern[str], *, path: str = "$") -> None:
        try:
            self._pattern = re.compile(pattern)
        except re.error as wrong:
            raise ValueError(f"{pattern!r} is no regular expression: {wrong}") from None
        steps = _STEP.findall(path[1:])
        if not path.startswith("$") or "".join(f".{name}" if name else f"[{at}]" for name, at in steps) != path[1:]:
            raise ValueError(f"{path!r} is no path; write one as $.items[*].name")
        self._steps = [name or at for name, at in steps]

    def check(self, value: Any) -> Any:
        """The value itself."""
        flaws = [
            Flaw(path, f"must match {self._pattern.pattern}")
            for path, text in self._found(value)
            if self._pattern.fullmatch(text) is None
        ]
        if flaws:
            raise InvalidValueError(flaws=flaws)
        return value

    def _found(self, value: Any) -> list[tuple[str, str]]:
        places: list[tuple[str, Any]] = [("$", value)]
        for step in self._steps:
            places = [below for path, held in places for below in _below(path, held, step)]
        return [(path, held) for path, held in places if isinstance(held, str)]


def _below(path: str, held: Any, step: str) -> list[tuple[str, Any]]:
    if is_object(held):
        return [(f"{path}.{step}", held[step])] if step in held else []
    if not is_array(held):
        return []
    items: list[tuple[str, Any]] = [(f"{path}[{at}]", each) for at, each in enumerate(held)]
    if step == "*":
        return items
    return items[int(step) : int(step) + 1] if step.isdecimal() else []


class Matching(Regex):
    """Strings that a pattern matches, as a type of their own. Raises TypeError where it is one of bytes."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        if not isinstance(cast("object", pattern.pattern), str):
            raise TypeError(f"{pattern!r} matches bytes, and answers are text; give a pattern of str")
        super().__init__(pattern)

    @property
    def schema(self) -> Mapping[str, Any]:
        """It is told in words: by no other name do providers agree on what a pattern may be, and none has flags."""
        how = [says for flag, says in _FLAGS.items() if self._pattern.flags & flag]
        # Blanks and comments of a verbose pattern say to whoever reads it what they say to Python.
        how += ["blanks and # comments in it mean nothing"] if self._pattern.flags & re.VERBOSE else []
        also = f" ({', '.join(how)})" if how else ""
        says = f"A string that as a whole matches this regular expression{also}: {self._pattern.pattern}"
        return {"type": "string", "description": says}


def _make(kind: Any) -> Validator | None:
    return Matching(cast("re.Pattern[str]", kind)) if isinstance(kind, re.Pattern) else None


@hookimpl
def penstock_validators() -> Sequence[ValidatorSpec]:
    """The one validator of this file: of a compiled pattern, as a type of its own."""
    return (ValidatorSpec("regex", _make),)
