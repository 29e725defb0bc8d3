"""Chaos for the tests of apps: faults by a seed, against the app's own configuration, in memory.

Rules of a `Script` are made of what a test says of targets; the rehearsal upstream does the rest. Imported by tests as
`penstock.testing.chaos`. Not here: deciding (`script`) and playing faults (`sabotage`, `transport_front`).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import msgspec
import trio
from msgspec import Struct

from penstock import Config, Kernel
from penstock.testing import StagedKernel, borrowed_voices, keyless
from penstock_plugins.rehearsal.ask import key_label
from penstock_plugins.rehearsal.faults import Fault
from penstock_plugins.rehearsal.latency import Latency
from penstock_plugins.rehearsal.ledger import Statistics
from penstock_plugins.rehearsal.script import Rule, Script
from penstock_plugins.rehearsal.transport_front import RehearsalTransport
from penstock_plugins.rehearsal.upstream import Seen, Upstream
from penstock_plugins.rehearsal.words import fault_of

__all__ = ["Chaos", "ChaosKernel", "Exchanged", "Strike"]

FAMILIES = frozenset({"openai-chat", "anthropic-messages"})
"""The wires that the upstream speaks; providers of others are given the first one's voice."""
KEPT = 1_000_000
"""Exchanges in the log; a longer run forgets the first ones. Each takes a few hundred bytes."""


@attrs.frozen(kw_only=True)
class Strike:
    """Some faults, and the requests that meet one of them."""

    faults: tuple[Fault, ...]
    target: str | None
    """A target, or a provider: all its targets. None: every one."""
    share: float
    first: int | None
    from_s: float
    until_s: float | None

    def rules(self, config: Config) -> Iterator[Rule]:
        """The same as rules. The first rule that strikes decides, so each takes its part of what is left to it."""
        model, key = _whom(self.target, config)
        for place, fault in enumerate(self.faults):
            yield Rule(
                fault=fault,
                model=model,
                key=key,
                last=self.first,
                from_s=self.from_s,
                until_s=self.until_s,
                probability=_part(self.share, len(self.faults), place),
            )


@attrs.frozen
class Chaos:
    """A plan of faults. Every method gives a longer plan; of several strikes at one request the first one decides.

    A fault is a word (`rate_limit`, `silence`, `cut_stream`, ...: the tags of the rehearsal's faults) or a fault with
    its settings (`faults.RateLimit(hint="date", after_s=20)`); of several, each is as likely. The same seed gives the
    same run; another seed other requests for the same shares.
    """

    seed: int = 0
    latency: Latency = attrs.field(factory=Latency, kw_only=True)
    """How long answers take where nothing is wrong: no time."""
    strikes: tuple[Strike, ...] = attrs.field(default=(), kw_only=True)

    def at(
        self, target: str, faults: str | Fault | Sequence[str | Fault], *, first: int | None = None, share: float = 1.0
    ) -> Chaos:
        """Strikes requests to a target or to all targets of a provider: the `first` so many to each model, or all."""
        return self._and(faults, target=target, first=first, share=share)

    def between(
        self,
        start: float,
        end: float | None,
        faults: str | Fault | Sequence[str | Fault],
        *,
        target: str | None = None,
        share: float = 1.0,
    ) -> Chaos:
        """Strikes from `start` to `end`, seconds after the kernel was opened; None: to the end of the run."""
        return self._and(faults, target=target, share=share, from_s=start, until_s=end)

    def share(self, share: float, faults: str | Fault | Sequence[str | Fault], *, target: str | None = None) -> Chaos:
        """Strikes that share of all requests: 0.3 is three in ten, chosen by the seed and by what is asked."""
        return self._and(faults, target=target, share=share)

    def against(
        self, config: Config | str | Path | Mapping[str, Any] | None = None, *, plugins: Sequence[object] = ()
    ) -> ChaosKernel:
        """A kernel of that configuration with this plan in place of its providers: see `penstock.testing.keyless`.

        Raises ConfigError for the configuration, NoRouteError for a target that it does not have.
        """
        return ChaosKernel(self, keyless(config), plugins)

    def _and(
        self,
        faults: str | Fault | Sequence[str | Fault],
        *,
        target: str | None,
        share: float,
        first: int | None = None,
        from_s: float = 0.0,
        until_s: float | None = None,
    ) -> Chaos:
        named = [faults] if isinstance(faults, str) or not isinstance(faults, Sequence) else faults
        if not named:
            raise ValueError("name at least one fault")
        strike = Strike(
            faults=tuple(fault_of(each) for each in named),
            target=target,
            share=share,
            first=first,
            from_s=from_s,
            until_s=until_s,
        )
        # What a rule would refuse is told where it is said, not where the plan is used.
        Rule(fault=strike.faults[0], last=first, from_s=from_s, until_s=until_s, probability=share)
        return attrs.evolve(self, strikes=(*self.strikes, strike))


class Exchanged(Struct, frozen=True, kw_only=True):
    """One exchange with the upstream. No prompt, no answer."""

    at_s: float
    """When it was read, in seconds after the kernel was opened."""
    target: str
    streamed: bool
    fault: str | None
    status: int | None
    """None: no head was written."""
    completed: bool
    """A success that was written to its end."""
    input_tokens: int
    output_tokens: int
    """What the provider would bill."""


class ChaosKernel(StagedKernel):
    """A kernel in chaos: `run(app)`, or `async with`; then `log`, `ledger` and `seconds` tell what happened."""

    def __init__(self, chaos: Chaos, config: Config, plugins: Sequence[object]) -> None:
        self.chaos = chaos
        self._names = _Names(config)
        self._exchanges: deque[Exchanged] = deque(maxlen=KEPT)
        rules = tuple(rule for strike in chaos.strikes for rule in strike.rules(config))
        self.upstream = Upstream(Script(rules, chaos.seed), latency=chaos.latency, observe=self._saw)
        transport = RehearsalTransport(self.upstream, wall=self.wall)
        voices = borrowed_voices(FAMILIES, config, plugins)
        super().__init__(config, transport, [*voices, *plugins], seed=chaos.seed)

    async def __aenter__(self) -> Kernel:
        kernel = await super().__aenter__()
        self.upstream.start(trio.current_time())
        return kernel

    @property
    def ledger(self) -> Statistics:
        """The upstream's own books: what it was asked, and what it would bill."""
        return self.upstream.statistics()

    @property
    def exchanges(self) -> tuple[Exchanged, ...]:
        """Every exchange that is over, in the order in which the upstream read them."""
        return tuple(sorted(self._exchanges, key=lambda exchanged: exchanged.at_s))

    @property
    def log(self) -> tuple[Exchanged, ...]:
        """The exchanges that met a fault."""
        return tuple(exchanged for exchanged in self.exchanges if exchanged.fault is not None)

    @property
    def transcript(self) -> bytes:
        """Exchanges and books as JSON: the same bytes for the same seed, configuration and app."""
        return msgspec.json.encode((self.exchanges, self.ledger), order="deterministic")

    def _saw(self, seen: Seen) -> None:
        self._exchanges.append(
            Exchanged(
                at_s=seen.elapsed_s,
                target=self._names.target(seen.key, seen.model),
                streamed=seen.streamed,
                fault=None if seen.fault is None else seen.fault.replace("-", "_"),
                status=seen.status,
                completed=seen.completed,
                input_tokens=seen.input_tokens,
                output_tokens=seen.output_tokens,
            )
        )


class _Names:
    """The targets by what the upstream sees of them: the label of the provider's invented key, and the model."""

    def __init__(self, config: Config) -> None:
        self._providers = {_label(config, name): name for name in config.providers}
        self._targets = {(target.provider, target.model): name for name, target in config.targets.items()}

    def target(self, key: str, model: str) -> str:
        provider = self._providers.get(key, "unknown")
        return self._targets.get((provider, model), f"{provider}/{model}")


def _part(share: float, faults: int, place: int) -> float:
    """The chance of the fault at that place, among the requests that those before it have spared."""
    spared = faults - share * place
    return min(1.0, share / spared)


def _whom(target: str | None, config: Config) -> tuple[str, str]:
    """Patterns for the model and for the label of the key. Raises NoRouteError."""
    if target is None:
        # Not "*": a rule without any condition may close the port, and what is refused there is in no books.
        return "*", "key-*"
    if target in config.providers and target not in config.targets:
        return "*", _label(config, target)
    found = config.resolve_target(target)
    return re.sub(r"([*?[])", r"[\1]", found.model), _label(config, found.provider)


def _label(config: Config, provider: str) -> str:
    return key_label(config.providers[provider].secrets[0].reveal())
