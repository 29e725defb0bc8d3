"""The corpus of damaged outputs in `structured/corpus/`: what it holds is told in the README there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

__all__ = ["CORPUS", "OUTPUTS", "DamagedOutput", "same"]

CORPUS = Path(__file__).parent / "structured" / "corpus"


class DamagedOutput(Struct, frozen=True, rename={"kind": "class"}, forbid_unknown_fields=True):
    """One text of a model and the right answer to it: the value it means, or the reason for not guessing one."""

    id: str
    kind: str
    source: str
    text: str
    schema: dict[str, Any] | None
    want: Any | UnsetType = UNSET
    refuse: str | UnsetType = UNSET
    or_refuse: bool = False
    abridged: bool = False

    @property
    def reasons(self) -> frozenset[str]:
        """The reasons that are right: several where the damage can be called by more than one name."""
        return frozenset() if self.refuse is UNSET else frozenset(self.refuse.split(" or "))


def same(one: object, other: object) -> bool:
    """Equal as JSON: 1, 1.0 and true are three values, the order of members is none."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def read(file: Path) -> list[DamagedOutput]:
    lines = file.read_text(encoding="utf-8").split("\n")
    return [msgspec.json.decode(line, type=DamagedOutput) for line in lines if line]


OUTPUTS = [output for file in sorted(CORPUS.glob("*.jsonl")) for output in read(file)]
