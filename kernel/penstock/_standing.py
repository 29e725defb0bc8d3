"""Which stages of a route stand for all of them where a hold is found: no other one costs more than these.

A hold is as large as the dearest attempt that its call may make, at whichever stage; not every target has to be priced
for that. Not here: what an attempt costs (`_budgeting`).
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from penstock._live_target import MOST_SHAPES, LiveTarget, OutputKey
from penstock.policy.routing import NOTHING_LEARNED, TOKENS_PER_BYTE, Learned

if TYPE_CHECKING:
    from penstock._outputs import Refusals

__all__ = ["Standing"]

MOST_COMPARED = 16
"""Kinds of targets that are compared with one another: of more of them each is priced."""


class Standing(Struct, eq=False):
    """Those of one route, by what was learned of its targets so far. All of it is for requests with a shape."""

    targets: Sequence[LiveTarget]
    learned: Mapping[str, Learned]
    of_each_kind: tuple[int, ...] = ()
    """Each other stage is of the kind of one of these, and costs no more.

    More was learned of some targets of a kind than of others: what adds to a bound, or to an estimate, decides.
    """
    _of_shapes: dict[OutputKey, tuple[int, ...]] = {}
    _of_ways: dict[bytes, tuple[Refusals, int, tuple[int, ...]]] = {}
    """By schema; with what was known to be refused then."""

    def __post_init__(self) -> None:
        self.of_each_kind = self._dearest_where_alike([target.kind for target in self.targets])

    def of_each_way(self, refusals: Refusals, digest: bytes) -> tuple[int, ...]:
        """The same for a request that is to become a value of the schema of that digest.

        How a target is asked for it follows from its kind, and from what it has refused of it.
        """
        known = self._of_ways.get(digest)
        if known is not None and known[0] is refusals and known[1] == refusals.changes:
            return known[2]
        kinds = [None if each.kind is None else (each.kind, refusals.of(each, digest)) for each in self.targets]
        if len(self._of_ways) >= MOST_SHAPES:
            self._of_ways.clear()
        found = self._dearest_where_alike(kinds)
        self._of_ways[digest] = refusals, refusals.changes, found
        return found

    def of_shape(self, key: OutputKey, max_tokens: int | None) -> tuple[int, ...]:
        """Fewer of them, for requests of one shape: by its bound, the line of each other one is nowhere above one of
        these, so long as that is not cut off by the window of its target.

        `max_tokens` as in the shape. All of them until each has been asked for such a request, and taken it as it is.
        """
        known = self._of_shapes.get(key)
        if known is not None:
            return known
        stages = self.of_each_kind
        if not 1 < len(stages) <= MOST_COMPARED or not all(
            self.targets[stage].is_known(key, max_tokens) for stage in stages
        ):
            return stages
        if len(self._of_shapes) >= MOST_SHAPES:
            self._of_shapes.clear()
        fewer = tuple(self._dearest_of(stages, key))
        found = self._of_shapes[key] = fewer if len(fewer) < len(stages) else stages
        return found

    def _dearest_of(self, stages: Sequence[int], key: OutputKey) -> list[int]:
        """Of two that cost the same, the first: it is the one that most calls go to."""
        dearest: list[int] = []
        for stage in stages:
            if not any(self._covers(other, stage, key) for other in dearest):
                dearest = [other for other in dearest if not self._covers(stage, other, key)]
                dearest.append(stage)
        return dearest

    def _covers(self, stage: int, other: int, key: OutputKey) -> bool:
        """Whether one of the two costs no less than the other, by its bound, whatever the text."""
        one, another = self.targets[stage], self.targets[other]
        most, also = one.outputs[key].outputs, another.outputs[key].outputs
        return (
            one.text_kind is not None
            and one.text_kind == another.text_kind
            and self._allowance(one) >= self._allowance(another)
            and most.minimum >= also.minimum
            and most.maximum >= also.maximum
            and _is_no_cheaper(one, another)
        )

    def _allowance(self, target: LiveTarget) -> int:
        return self.learned.get(target.name, NOTHING_LEARNED).extra_allowance

    def _dearest_where_alike(self, kinds: Sequence[object]) -> tuple[int, ...]:
        """`kinds`: of each stage, what makes it alike to others; None: nothing does."""
        return tuple(sorted(_dearest_of_each_kind(kinds, self.targets, self.learned)))


def _is_no_cheaper(one: LiveTarget, other: LiveTarget) -> bool:
    if one.price == other.price:
        return True
    if one.dearest is None or other.dearest is None:
        return False
    return all(map(operator.ge, one.dearest, other.dearest))


def _dearest_of_each_kind(
    kind_of: Sequence[object], targets: Sequence[LiveTarget], learned: Mapping[str, Learned]
) -> Iterator[int]:
    kinds: dict[object, list[tuple[int, float, int]]] = {}
    for stage, (kind, target) in enumerate(zip(kind_of, targets, strict=True)):
        if kind is None:
            yield stage
            continue
        known = learned.get(target.name, NOTHING_LEARNED)
        figures = (known.extra_allowance, known.tokens_per_byte or TOKENS_PER_BYTE, -stage)
        kinds.setdefault(kind, []).append(figures)
    for alike in kinds.values():
        most = 0.0
        for _, per_byte, stage in sorted(alike, reverse=True):
            if per_byte > most:  # else one of those before is above it in both
                most = per_byte
                yield -stage
