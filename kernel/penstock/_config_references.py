"""What targets and routes refer to: whether it is declared, or can be used without.

Not here: the tables themselves (`_config_load`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

import attrs

from penstock._config_mistakes import Mistakes, join, shown
from penstock._nearest import did_you_mean

__all__ = ["References"]


@attrs.define
class References:
    """Checks names against what is declared. `undeclared` gathers the providers that are used all the same."""

    providers: Collection[str]
    targets: Collection[str]
    kinds: Collection[str]
    mistakes: Mistakes
    undeclared: dict[str, None] = attrs.Factory(dict[str, None])

    def cascade(self, stages: object, path: str) -> None:
        """The targets of a route, in whatever shape its table has them."""
        seen: set[str] = set()
        for place, stage in enumerate(cast("list[object]", stages) if isinstance(stages, list) else []):
            target = cast("dict[str, object]", stage).get("target") if isinstance(stage, dict) else stage
            if not isinstance(target, str):
                continue
            where = join(path, place)
            self.target(target, where)
            if target in seen:
                self.mistakes.add(where, f"{shown(target)} is listed twice; raise its attempts")
            seen.add(target)

    def target(self, name: str, path: str) -> None:
        """A declared target, or provider/model, split at the first slash."""
        if name in self.targets:
            return
        provider, _, model = name.partition("/")
        if provider and model:
            self.provider(provider, path)
        else:
            says = f"{shown(name)}: there is no target of that name, and it is not provider/model"
            self.mistakes.add(path, says + did_you_mean(name, self.targets))

    def provider(self, name: str, path: str) -> None:
        """A declared provider; or a kind, which needs no table where the environment holds its key."""
        if name in self.providers:
            return
        if name in self.kinds:
            self.undeclared[name] = None
        else:
            known = {*self.providers, *self.kinds}
            self.mistakes.add(path, f"{shown(name)}: there is no provider of that name{did_you_mean(name, known)}")
