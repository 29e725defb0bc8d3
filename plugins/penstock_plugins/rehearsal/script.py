"""Which fault strikes which request: rules over what is asked, when, and how often, decided by a seed.

Not here: the faults (`faults`). A decision depends on the seed, the rule, the content of the request and how often that
content came before: not on the order in which concurrent requests arrive. Only rules that count the requests of
a model (`first`, `last`) or those in flight depend on the order.
"""

from __future__ import annotations

import math
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from penstock_plugins.rehearsal.chance import draw
from penstock_plugins.rehearsal.faults import Fault, Refused

__all__ = ["Rule", "Script", "Sight", "WireName"]

WireName: TypeAlias = Literal["openai", "anthropic"]


class Sight(Struct, frozen=True, kw_only=True):
    """What rules can see of a request. Times are in seconds since the upstream was started."""

    wire: WireName
    model: str
    key: str
    streamed: bool
    elapsed_s: float
    number: int
    """1 for the first request to this model with this key."""
    in_flight: int
    """How many requests are being answered, this one included."""
    content: str
    """A digest of model and prompt."""
    occurrence: int
    """1 for the first request with this content."""


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault and the requests it strikes: those that fulfil every condition."""

    fault: Fault
    wire: WireName | None = None
    model: str = "*"
    """A pattern as of file names: `claude-*`."""
    key: str = "*"
    """A pattern for the label of the caller's key (`key_label`)."""
    streamed: bool | None = None
    from_s: float = 0.0
    until_s: float | None = None
    """None: to the end."""
    first: int = 1
    last: int | None = None
    """From the `first` to the `last` request to a model with one key, both included."""
    occurrences: int | None = None
    """Only the first so many times the same content is asked: 1 strikes once and spares the retry."""
    in_flight_above: int = 0
    probability: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability is {self.probability}; it must be from 0 to 1")
        if not 0 <= self.from_s < self.ends_s:
            raise ValueError(f"from_s is {self.from_s} and until_s is {self.until_s}; from_s must come first")
        if self.first < 1 or (self.last is not None and self.last < self.first):
            raise ValueError(f"first is {self.first} and last is {self.last}; requests are counted from 1")

    @property
    def ends_s(self) -> float:
        """The end of its window."""
        return math.inf if self.until_s is None else self.until_s

    @property
    def closes_port(self) -> bool:
        """True where the port can be closed for the whole window: every request would be refused anyway."""
        return isinstance(self.fault, Refused) and self == Rule(
            fault=self.fault, from_s=self.from_s, until_s=self.until_s
        )

    def covers(self, elapsed_s: float) -> bool:
        """True inside the rule's window of time."""
        return self.from_s <= elapsed_s < self.ends_s

    def applies_to(self, sight: Sight) -> bool:
        """True where every condition but the chance is fulfilled."""
        return (
            self.covers(sight.elapsed_s)
            and self.wire in (None, sight.wire)
            and self.streamed in (None, sight.streamed)
            and self.first <= sight.number
            and (self.last is None or sight.number <= self.last)
            and (self.occurrences is None or sight.occurrence <= self.occurrences)
            and sight.in_flight > self.in_flight_above
            and fnmatchcase(sight.model, self.model)
            and fnmatchcase(sight.key, self.key)
        )


class Script(Struct, frozen=True, forbid_unknown_fields=True):
    """Rules in order of precedence: the first that strikes decides. No rules: an upstream without faults."""

    rules: tuple[Rule, ...] = ()
    seed: int = 0

    @classmethod
    def parse(cls, toml: str) -> Script:
        """Reads `seed = 7` and `[[rules]]` tables; raises ValueError that names the first mistake and its place."""
        return msgspec.toml.decode(toml, type=cls)

    def choose(self, sight: Sight) -> Fault | None:
        """The fault for a request, or None."""
        for index, rule in enumerate(self.rules):
            if rule.applies_to(sight) and self._strikes(index, rule, sight):
                return rule.fault
        return None

    def port_is_closed(self, elapsed_s: float) -> bool:
        """True while nothing listens."""
        return any(rule.closes_port and rule.covers(elapsed_s) for rule in self.rules)

    def next_change(self, elapsed_s: float) -> float:
        """When the port may next be opened or closed; infinity where it stays as it is."""
        edges = (edge for rule in self.rules if rule.closes_port for edge in (rule.from_s, rule.ends_s))
        return min((edge for edge in edges if edge > elapsed_s), default=math.inf)

    def _strikes(self, index: int, rule: Rule, sight: Sight) -> bool:
        return draw(self.seed, "fault", index, sight.content, sight.occurrence) < rule.probability
