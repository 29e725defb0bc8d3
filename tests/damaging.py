"""Writes values as models might that know no JSON by heart, for the property tests of what finds them again."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import strategies as st

from penstock.policy.json_values import is_array, is_object

__all__ = ["Writing"]

# Words, and quotations among them: nothing behind a quote looks as if the string had ended.
_QUOTATIONS = re.compile(r"""[\w .!?/#`*-]*(?:(?<![\w`])\\["'][\w .!?/#`*-]+\\["'] (?=[\w/#`*-])[\w .!?/#`*-]*)+""")


class Writing:
    """Writes a value as a model might that knows no JSON by heart: an encoder of its own, damage and all."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.quote = draw(st.sampled_from(['"', "'"]))
        self.bare_keys = draw(st.booleans())
        self.trailing_commas = draw(st.booleans())
        self.python_words = draw(st.booleans())
        self.raw_newlines = draw(st.booleans())
        self.colon = draw(st.sampled_from([":", ": ", " : ", " = ", " => "]))
        self.inner_quotes = False
        """Those in strings have no backslash before them, where they stand around a word or two."""
        self.whole_fractions = False
        """Integers are written as 3.0."""
        self.between = draw(st.sampled_from([", ", ",", ",\n  ", " , // and\n", ", /* too */ ", ",\u00a0"]))

    def value(self, value: Any) -> str:
        match value:
            case None:
                return "None" if self.python_words else "null"
            case bool():
                return str(value) if self.python_words else str(value).lower()
            case str():
                return self.text(value)
            case _ if is_array(value):
                return self.held("[", [self.value(each) for each in value], "]")
            case _ if is_object(value):
                members = [f"{self.key(name)}{self.colon}{self.value(held)}" for name, held in value.items()]
                return self.held("{", members, "}")
            case int() if self.whole_fractions:
                return f"{value}.0"
            case _:
                return json.dumps(value)

    def key(self, name: str) -> str:
        return name if self.bare_keys else self.text(name)

    def text(self, text: str) -> str:
        escaped = json.dumps(text, ensure_ascii=False)[1:-1].replace('\\"', '"').replace(self.quote, f"\\{self.quote}")
        if self.raw_newlines and "\\\\" not in escaped:
            escaped = escaped.replace("\\n", "\n")
        if self.inner_quotes and _QUOTATIONS.fullmatch(escaped) and "\n" not in escaped:
            escaped = escaped.replace(f"\\{self.quote}", self.quote)
        return f"{self.quote}{escaped}{self.quote}"

    def held(self, opening: str, members: list[str], closing: str) -> str:
        comma = "," if self.trailing_commas and members else ""
        return f"{opening}{self.between.join(members)}{comma}{closing}"
