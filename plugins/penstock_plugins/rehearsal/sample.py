"""The plainest JSON value that fulfils a JSON schema: what a model without imagination would answer.

Not here: validation. Covered is what tools and structured outputs use; of an unknown type comes null.
"""

from __future__ import annotations

from typing import Any, cast

__all__ = ["instance"]

_DEEPEST = 20  # recursive schemas end in null


def instance(schema: dict[str, Any]) -> Any:
    """A value for the schema."""
    return _value(schema, schema, 0)


def _value(schema: Any, root: dict[str, Any], depth: int) -> Any:
    if depth > _DEEPEST or not isinstance(schema, dict):
        return None
    match cast("dict[str, Any]", schema):
        case {"$ref": str(place)}:
            return _value(_at(root, place), root, depth + 1)
        case {"const": value}:
            return value
        case {"enum": [first, *_]} | {"default": first}:
            return first
        case {"anyOf": [first, *_]} | {"oneOf": [first, *_]} | {"allOf": [first, *_]}:
            return _value(first, root, depth + 1)
        case found:
            return _of_type(found, root, depth)


def _of_type(schema: dict[str, Any], root: dict[str, Any], depth: int) -> Any:
    match schema.get("type"):
        case "string":
            return "wäter".ljust(_whole(schema.get("minLength")), "~")
        case "integer" | "number":
            return schema.get("minimum", 7)
        case "boolean":
            return True
        case "array":
            length = max(1, _whole(schema.get("minItems")))
            return [_value(schema.get("items", {"type": "string"}), root, depth + 1) for _ in range(length)]
        case [first, *_]:
            return _of_type({**schema, "type": first}, root, depth)
        case kind if kind == "object" or "properties" in schema:
            properties = schema.get("properties")
            parts = cast("dict[str, Any]", properties) if isinstance(properties, dict) else {}
            return {name: _value(part, root, depth + 1) for name, part in parts.items()}
        case _:
            return {} if depth == 0 else None


def _at(root: dict[str, Any], place: str) -> Any:
    """What `#/$defs/Name` points to."""
    found: Any = root
    for step in place.removeprefix("#").strip("/").split("/"):
        found = cast("dict[str, Any]", found).get(step) if isinstance(found, dict) else None
    return found


def _whole(value: Any) -> int:
    """A length a schema asks for, as far as anyone would go along with it."""
    return min(value, 20) if isinstance(value, int) and value > 0 else 0
