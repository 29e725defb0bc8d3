"""What a type is made of, to the last field, and whose rules stand in it.

Not here: what is made of each (the validators).
"""

from __future__ import annotations

import dataclasses
import sys
import typing
from typing import Any, cast

import msgspec

__all__ = ["foreign_rule", "parts_of", "pydantic_part", "said_of"]


def parts_of(kind: Any) -> list[Any]:
    """The type, its arguments and what is annotated, the fields of its classes, and theirs. Each once."""
    found: list[Any] = []
    seen: set[int] = set()
    left: list[Any] = [kind]
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        found.append(each)  # held, so that no other takes its identity
        left.extend(typing.get_args(each))
        left.extend(getattr(each, behind, None) for behind in ("__origin__", "__supertype__", "__value__"))
        if isinstance(each, type) and _has_fields(each):
            left.extend(_hints(each).values())
            left.extend(_defaults(each))
    return found


def pydantic_part(parts: list[Any]) -> Any:
    """The first of them that only pydantic builds: a model, a dataclass or type of its own, or a rule for a part.

    Rules of `annotated_types` are among them: they are pydantic's to ask, for neither msgspec nor cattrs does.
    """
    return next((each for each in parts if _is_pydantics(each)), None)


def foreign_rule(parts: list[Any]) -> msgspec.Meta | None:
    """The first rule of msgspec's, which nobody else asks."""
    return next((each for each in parts if isinstance(each, msgspec.Meta) and _rules(each)), None)


def said_of(part: Any) -> str:
    """How errors name a part of pydantic's."""
    if isinstance(part, type):
        return f"{part.__name__} is pydantic's"
    name = type(part).__name__
    if type(part).__module__.startswith("annotated_types"):
        return f"{name} is a rule of annotated_types, which pydantic asks"
    return f"{name} is a rule of pydantic's"


def _is_pydantics(part: Any) -> bool:
    kind: Any = part if isinstance(part, type) else cast("Any", type(part))
    if hasattr(kind, "__pydantic_validator__"):
        return isinstance(part, type)
    if isinstance(part, type):
        # Classes of others may tell pydantic how they are built, and are built without it all the same.
        return hasattr(part, "__get_pydantic_core_schema__") and not _has_fields(part)
    module = kind.__module__.partition(".")[0]
    if module == "annotated_types":
        return kind.__name__ not in ("DocInfo", "Unit")  # they ask nothing
    return module == "pydantic" or hasattr(kind, "__get_pydantic_core_schema__")


def _rules(meta: msgspec.Meta) -> bool:
    asks = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length", "tz")
    return any(getattr(meta, name) is not None for name in asks)


def _has_fields(kind: type) -> bool:
    marks = (
        "__dataclass_fields__",
        "__attrs_attrs__",
        "__total__",
        "__struct_fields__",
        "__pydantic_fields__",
        "_fields",
    )
    return any(hasattr(kind, mark) for mark in marks)


def _hints(kind: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind, include_extras=True)
    except (NameError, TypeError, AttributeError):  # whoever builds it says what is wrong with it
        return {}


def _defaults(kind: type) -> list[Any]:
    """In place of defaults, where those are rules of pydantic's."""
    pydantic = sys.modules.get("pydantic.fields")
    if pydantic is None:
        return []
    of_class: Any = kind
    defaults: list[Any] = []
    if dataclasses.is_dataclass(of_class):
        defaults = [field.default for field in dataclasses.fields(of_class)]
    defaults += [field.default for field in getattr(of_class, "__attrs_attrs__", ())]
    defaults += getattr(of_class, "__struct_defaults__", ())
    return [each for each in defaults if isinstance(each, pydantic.FieldInfo)]
