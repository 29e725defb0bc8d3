"""What a provider's no to a request says about the way in which a value was asked for.

Models and servers differ in what they take, and no table knows them all. Not here: what is known beforehand
(`schema_shaping`), and what is asked then (`_extraction`).
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

__all__ = ["Way", "refused_way"]

Way: TypeAlias = Literal["native", "tool alone", "tool", "object", "words"]
"""`tool alone`: a tool that is to be called once, and said so."""

_OF_SCHEMAS = re.compile(
    r"response_?format|output_?(?:config|format|schema)|json_?(?:schema|object|mode)|schema|structured[ _-]?output"
    r"|grammar|additionalproperties|text\.format|\$ref|\bstrict\b"
)
_OF_TOOLS = re.compile(r"\btools?\b|\btool_|functions?\b|schema|parallel")


def refused_way(way: Way, says: str, code: str | None) -> Way | None:
    """The way that is closed by an error of this sentence and code; None: it is about something else."""
    told = f"{code or ''} {says}".lower()
    match way:
        case "words":
            return None
        case "native" | "object":
            return way if _OF_SCHEMAS.search(told) else None
        case "tool alone" if "parallel" in told:
            return way
        case _:
            return "tool" if _OF_TOOLS.search(told) else None
