"""The windows that accounts had by what was configured before: they go on counting, in case their limits come back.

Not here: what is counted in them (a ledger store), and how they count (`AccountWindows`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from penstock.policy.account_paths import is_pattern, matches
from penstock.policy.accounts import AccountTree, Shape

__all__ = ["FormerWindows"]

MOST_NAMES = 16_384
"""Accounts, and as many patterns, whose former windows are known: beyond it those that lost any longest ago go."""


class FormerWindows:
    """The shapes that accounts and patterns had and have no more.

    By their names and not by whole configurations: each customer who is given an account makes another configuration,
    and what the others lost before is known after any number of them.
    """

    def __init__(self) -> None:
        self._of_path: dict[str, dict[Shape, None]] = {}
        self._of_pattern: dict[str, dict[Shape, None]] = {}

    @property
    def paths(self) -> Collection[str]:
        """The accounts that lost windows under their own names, the last that did so last."""
        return self._of_path.keys()

    def shapes_of(self, path: str) -> Iterator[Shape]:
        """Those of an account, and of all patterns that it matches: at most too many, which only goes on counting."""
        yield from self._of_path.get(path, ())
        for pattern, shapes in self._of_pattern.items():
            if matches(pattern, path):
                yield from shapes

    def replaced(self, old: AccountTree, new: AccountTree) -> None:
        """Notes what accounts lose where `new` is configured instead of `old`."""
        for name, spec in old.specs.items():
            left = new.specs.get(name)
            kept = left.shapes if left else ()
            self._lost(name, [shape for shape in spec.shapes if shape not in kept])
        for path in new.declared:
            if path not in old.declared and (pattern := old.spec_of(path)):
                self._lost(path, pattern.shapes)  # it may stay, and speaks for this one no more
        if any(is_pattern(name) and name not in old.specs for name in new.specs):
            for name, spec in old.specs.items():
                if is_pattern(name):
                    self._lost(name, spec.shapes)  # the new one may speak before it

    def _lost(self, name: str, shapes: Iterable[Shape]) -> None:
        noted = self._of_pattern if is_pattern(name) else self._of_path
        lost = dict.fromkeys(shapes)
        if lost:
            noted[name] = noted.pop(name, {}) | lost
            if len(noted) > MOST_NAMES:
                del noted[next(iter(noted))]
