"""What a schema refers to within itself, how deep it goes, and the error for one that is wrong.

Not here: what its keywords ask (`schema_rules`, `schema_compounds`).
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.policy.json_values import Json, is_array, is_object

__all__ = ["SchemaError", "is_deeper", "pointed"]


class SchemaError(ValueError):
    """The schema itself is wrong, or says what is not understood here. Names the place and the keyword."""


def pointed(root: Mapping[str, Json], reference: str) -> Json:
    """What a local `$ref` points to. Raises SchemaError."""
    if reference == "#":
        return root
    if not reference.startswith("#"):
        raise SchemaError(f"$ref {reference!r}: only references into the schema itself are followed")
    if not reference.startswith("#/"):
        return _anchored(root, reference[1:])
    at: Json = root
    for raw in reference[2:].split("/"):
        step = raw.replace("~1", "/").replace("~0", "~").replace("%25", "%")
        if is_object(at) and step in at:
            at = at[step]
        elif is_array(at) and step.isdecimal() and int(step) < len(at):
            at = at[int(step)]
        else:
            raise SchemaError(f"$ref {reference!r} points nowhere")
    return at


def _anchored(root: Json, name: str) -> Json:
    left: list[Json] = [root]
    while left:
        at = left.pop()
        if is_object(at):
            if at.get("$anchor") == name:
                return at
            left.extend(at.values())
        elif is_array(at):
            left.extend(at)
    raise SchemaError(f"$ref '#{name}' points nowhere")


def is_deeper(schema: Json, most: int) -> bool:
    """True where objects and lists within one another are more than so many."""
    level: list[Json] = [schema]
    for _ in range(most + 1):
        below: list[Json] = []
        for at in level:
            if is_object(at):
                below.extend(at.values())
            elif is_array(at):
                below.extend(at)
        level = below
        if not level:
            return False
    return True
