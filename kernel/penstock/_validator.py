"""What checks a value, and builds one of the type that was asked for: an ABC for plugins."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from penstock.policy.json_values import Flaw

__all__ = ["InvalidValueError", "Validator"]


class InvalidValueError(ValueError):
    """A validator's no. `flaws` say where and why; without any, the message is all that is told."""

    def __init__(self, message: str = "", *, flaws: Iterable[Flaw] = ()) -> None:
        self.flaws: tuple[Flaw, ...] = tuple(flaws)
        super().__init__(message or "; ".join(f"{flaw.path}: {flaw.says}" for flaw in self.flaws) or "is not valid")


class Validator(ABC):
    """Checks a value, or builds another out of it.

    Laws: `check` never changes the value it is given; the same value has the same result; it neither waits nor blocks,
    for it runs in the kernel's own loop. One that raises anything but ValueError is told as broken, and its answer is
    taken for a no.
    """

    takes_json: ClassVar[bool] = False
    """It is given plain JSON data wherever it stands, and not what a type or another validator has built of it."""

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """The JSON Schema of what it takes; None: it knows none. Asked once."""
        return None

    @abstractmethod
    def check(self, value: Any) -> Any:
        """The value that is handed on: the same, or one built from it. Raises InvalidValueError."""
