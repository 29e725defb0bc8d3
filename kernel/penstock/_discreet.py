"""A struct whose repr tells shapes, never contents: prompts, answers and keys stay out of logs and tracebacks."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import ClassVar

from msgspec import Struct

__all__ = ["Discreet", "keys_only", "type_name"]


def type_name(value: object) -> str:
    """The name of its type: what an error may say of a value that is not ours to show."""
    return type(value).__name__


def keys_only(value: Mapping[str, object] | None) -> str:
    """The repr of headers, parameters and options: they may hold what nobody shall read in a log."""
    return "None" if value is None else "{" + ", ".join(f"{key}: ..." for key in value) + "}"


class Discreet(Struct, frozen=True):
    """Base of the structs that carry what users and models say. `shown` names the fields that may be printed whole."""

    shown: ClassVar[frozenset[str]] = frozenset()

    def __repr__(self) -> str:
        fields = ((name, getattr(self, name)) for name in self.__struct_fields__)
        told = (f"{name}={_tell(value, whole=name in self.shown)}" for name, value in fields if value is not None)
        return f"{type(self).__name__}({', '.join(told)})"


def _tell(value: object, *, whole: bool) -> str:
    if whole or isinstance(value, bool | int | float | Struct):
        return repr(value)
    if isinstance(value, str):
        return f"<{len(value)} characters>"
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, Sized):
        return f"<{len(value)} items>"
    return f"<{type_name(value)}>"
