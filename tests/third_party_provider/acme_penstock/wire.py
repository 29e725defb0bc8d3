"""Acme's JSON: what is sent to /speak, what comes back whole, and the lines of a stream."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["Line", "Speech", "Turn", "Units", "Wrong", "WrongBody"]


class Turn(Struct, frozen=True):
    """Somebody said something."""

    who: str
    says: str


class Units(Struct, frozen=True):
    """What is billed."""

    heard: int
    spoken: int


class Speech(Struct, frozen=True):
    """A whole answer."""

    id: str
    voice: str
    says: str
    ended: str
    units: Units


class Line(Struct, frozen=True):
    """One line of a stream: more words, or the end with everything else."""

    more: str = ""
    ended: str | None = None
    id: str = ""
    voice: str = ""
    units: Units | None = None


class Wrong(Struct, frozen=True):
    """Why there is no answer."""

    code: str = ""
    why: str = ""


class WrongBody(Struct, frozen=True):
    """The body of an error."""

    wrong: Wrong = Wrong()
