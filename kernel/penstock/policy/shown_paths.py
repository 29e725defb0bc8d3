"""Places in an answer, as errors and logs may name them: what the schema calls by name, and nothing of the model's own.

Not here: the paths themselves (`json_values`), which are data of an error.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Container
from typing import Any

from penstock.policy.json_values import Json, is_array, is_object

__all__ = ["UNNAMED", "names_of", "shown_path"]

UNNAMED = "[...]"
"""In place of a name that is none of the schema's."""
LONGEST = 120
_STEP = re.compile(r"""\.(\w+)|(\[\d+\])|\[('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\]""")


def names_of(schema: Any) -> frozenset[str]:
    """The properties that a schema names somewhere."""
    found: set[str] = set()
    left: list[Json] = [schema]
    while left:
        at = left.pop()
        if is_object(at):
            properties, required = at.get("properties"), at.get("required")
            found.update(properties if is_object(properties) else ())
            found.update(name for name in (required if is_array(required) else ()) if isinstance(name, str))
            left.extend(at.values())
        elif is_array(at):
            left.extend(at)
    return frozenset(found)


def shown_path(path: str, names: Container[str]) -> str:
    """The path without names that are none of these, and no longer than is of use."""
    if not path.startswith("$"):
        return UNNAMED
    shown, end = "$", 1
    for step in _STEP.finditer(path, 1):
        if step.start() != end or len(shown) > LONGEST:
            break
        end = step.end()
        word, place, quoted = step.groups()
        name = word or (_unquoted(quoted) if quoted else None)
        shown += step[0] if place or name in names else UNNAMED
    return shown if end == len(path) else f"{shown}{UNNAMED}"


def _unquoted(quoted: str) -> str | None:
    """None where it cannot be: validators write paths, too."""
    try:
        return str(literal_eval(quoted))
    except (SyntaxError, ValueError):
        return None
