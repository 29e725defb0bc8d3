"""The demo as data: an outage in windows of time, a configuration, and the calls that have to live with it.

Not here: running it (`run`). All of it follows from the number of calls, the seed and the speed.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, Literal

import attrs

from penstock._config import Config
from penstock_plugins.rehearsal import Fault, Latency, Rule, Script, faults

__all__ = [
    "BATCH",
    "MAX_TOKENS",
    "MODELS",
    "PRICES",
    "PROVIDERS",
    "SEARCH",
    "SERVICE",
    "TARGETS",
    "Job",
    "Outage",
    "Scenario",
    "TargetName",
    "make_scenario",
]

TargetName = Literal["sonnet", "gpt", "haiku"]
TARGETS: tuple[TargetName, ...] = ("sonnet", "gpt", "haiku")
"""In the order of the cascade."""
PROVIDERS: dict[TargetName, str] = {"sonnet": "anthropic", "gpt": "openai", "haiku": "anthropic"}
MODELS: dict[TargetName, str] = {"sonnet": "claude-sonnet-4-5", "gpt": "gpt-4.1", "haiku": "claude-haiku-4-5"}
ATTEMPTS: dict[TargetName, int] = {"sonnet": 3, "gpt": 2, "haiku": 5}
PRICES: dict[TargetName, tuple[int, int]] = {"sonnet": (3, 15), "gpt": (2, 8), "haiku": (1, 5)}
"""USD per million tokens in and out: whole, so that the upstream's bill can be worked out by hand."""

SERVICE = "penstock-demo"
"""What its traces are found under."""
LENGTH = 17.0
SEARCH, BATCH = "team/search", "team/batch"
USD_PER_CALL = {SEARCH: 0.0012, BATCH: 0.0001}
"""What each account may spend, by the number of all calls: one has plenty, the other too little."""
LEAST_USD = 0.004
"""One hold must fit, or all calls of the account were refused."""
MAX_TOKENS = 120
POPULAR = 12
"""Questions that many ask: at temperature 0 they are answered once."""
SHARE_STREAMED, SHARE_BATCH, SHARE_POPULAR = 0.45, 0.25, 0.25
SHARE_ECHO = 0.4
"""Of the popular questions, those that are asked together with the one before."""
WORDS = "water gate sluice turbine flow head pipe valve river dam weir basin level pressure metre litre débit Gefälle"


@attrs.frozen
class Outage:
    """What is wrong with some targets, from when to when. `faults` with the share of the requests they strike."""

    from_s: float
    until_s: float
    targets: tuple[TargetName, ...]
    label: str
    says: str
    faults: tuple[tuple[Fault, float], ...]


@attrs.frozen
class Job:
    """One call. `answer` is what a whole answer to it says, to the letter."""

    number: int
    at: float
    """Seconds after the start."""
    prompt: str
    answer: str
    temperature: float
    streamed: bool
    account: str


@attrs.frozen
class Scenario:
    """Everything that is decided before the first call. Times are in seconds of the wall clock."""

    seed: int
    concurrency: int
    speed: float
    length: float
    """The last call comes just before its last twentieth."""
    jobs: tuple[Job, ...]
    outages: tuple[Outage, ...]
    limits_usd: dict[str, float]
    """What each account may spend."""
    otlp: str | None = None
    """The address of a collector that is sent the traces."""

    @property
    def latency(self) -> Latency:
        """Of a healthy upstream."""
        return Latency(first_s=0.12 / self.speed, chunk_s=0.004 / self.speed, jitter=0.5)

    def script(self, provider: str) -> Script:
        """The faults of one provider's upstream."""
        return Script(tuple(self._rules(provider)), seed=self.seed)

    def config(self, urls: dict[str, str]) -> Config:
        """The configuration under test, with the addresses of the providers."""
        return Config.from_dict(self._tables(urls), environ={})

    @property
    def turns(self) -> list[float]:
        """The moments at which something begins to be wrong, or ends."""
        return sorted({moment for outage in self.outages for moment in (outage.from_s, outage.until_s)})

    def under_way(self, elapsed: float) -> list[Outage]:
        """What is wrong at a moment."""
        return [outage for outage in self.outages if outage.from_s <= elapsed < outage.until_s]

    def _rules(self, provider: str) -> Iterator[Rule]:
        for outage in self.outages:
            for target in outage.targets:
                if PROVIDERS[target] == provider:
                    for fault, share in outage.faults:
                        yield self._rule(outage, fault, share, MODELS[target])

    def _rule(self, outage: Outage, fault: Fault, share: float, model: str) -> Rule:
        if isinstance(fault, faults.Refused):
            # Without a condition on the model: then the port itself is closed.
            return Rule(fault=fault, from_s=outage.from_s, until_s=outage.until_s)
        return Rule(fault=fault, model=model, from_s=outage.from_s, until_s=outage.until_s, probability=share)

    def _tables(self, urls: dict[str, str]) -> dict[str, Any]:
        patience = max(0.2, 0.8 / self.speed)
        timeouts = {"connect": 1.0, "first_token": patience, "idle": patience, "total": 4 * patience}
        providers = {
            name: {"api_key": "rehearsal", "base_url": url, "hidden_tokens": 128} for name, url in urls.items()
        }
        targets = {
            name: {
                "provider": PROVIDERS[name],
                "model": MODELS[name],
                "price": {"input": PRICES[name][0], "output": PRICES[name][1]},
            }
            for name in TARGETS
        }
        cascade = [{"target": name, "attempts": ATTEMPTS[name]} for name in TARGETS]
        rolling = {"per": "hour", "rolling": True}
        return {
            "providers": providers,
            "targets": targets,
            "defaults": {"timeouts": timeouts},
            "routes": {"default": {"cascade": cascade, "timeout": 10.0}},
            "breaker": {"open_for": 0.6 / self.speed, "open_cap": 1.2 / self.speed},
            "cache": {"store": "memory", "ttl": 3600},
            "budget": {"limits": [{**rolling, "usd": 100, "tokens": 100_000_000}], "hold_wait": 0.5},
            "accounts": {
                path: {"limits": [{**rolling, "usd": limit}], "tenant": "team"}
                for path, limit in self.limits_usd.items()
            },
            **({} if self.otlp is None else {"telemetry": {"otlp": self.otlp, "service_name": SERVICE}}),
        }


def make_scenario(*, calls: int, seed: int, concurrency: int, speed: float, otlp: str | None = None) -> Scenario:
    """The same numbers, the same scenario."""
    return Scenario(
        seed=seed,
        concurrency=concurrency,
        speed=speed,
        length=LENGTH / speed,
        jobs=tuple(_jobs(calls, Random(seed), 0.95 * LENGTH / speed)),  # noqa: S311 - it makes up questions
        outages=tuple(_outages(speed)),
        limits_usd={path: max(LEAST_USD, round(share * calls, 4)) for path, share in USD_PER_CALL.items()},
        otlp=otlp,
    )


def _jobs(calls: int, chance: Random, length: float) -> Iterator[Job]:
    popular = [(f"What does everyone ask, number {each}?", _sentence(chance)) for each in range(1, POPULAR + 1)]
    last: tuple[str, str, float] | None = None
    for number in range(1, calls + 1):
        streamed = chance.random() < SHARE_STREAMED
        account = BATCH if chance.random() < SHARE_BATCH else SEARCH
        at = (number - 1 + chance.random()) * length / calls
        if chance.random() < SHARE_POPULAR:
            if chance.random() < SHARE_ECHO and last is not None:
                # Somebody else asks the same at the same time, while the first answer is still on its way.
                question, answer, at = last
            else:
                question, answer = chance.choice(popular)
            last = (question, answer, at)
            temperature = 0.0
        else:
            question, answer, temperature = f"Question {number}.", _sentence(chance), 0.7
        # What the upstream is told to say: so that every answer can be compared with what it had to be.
        yield Job(number, at, f"{question} [[say {answer}]]", answer, temperature, streamed, account)


def _sentence(chance: Random) -> str:
    words = WORDS.split()
    return " ".join(chance.choice(words) for _ in range(chance.randint(8, 40))) + "."


def _outages(speed: float) -> Iterator[Outage]:
    down = (
        (faults.SilentBeforeHead(), 0.1),
        (faults.Overloaded(), 0.5),
        (faults.ServerFailure(status=500), 1.0),
    )
    limited = ((faults.RateLimit(hint="milliseconds", after_s=0.6 / speed), 0.85),)
    refused = ((faults.Refused(), 1.0),)
    cut = ((faults.CutStream(after_chunks=6), 0.8),)
    busy = ((faults.ServerFailure(status=503), 0.9),)
    for outage in (
        Outage(2.0, 4.0, ("sonnet",), "5xx", "sonnet is down: overloaded, 500, silent", down),
        Outage(6.0, 7.5, ("sonnet",), "429", "sonnet is rate-limited: 429 with hints", limited),
        Outage(9.0, 10.5, ("sonnet", "haiku"), "down", "anthropic refuses connections", refused),
        Outage(12.5, 14.2, ("sonnet",), "cut", "sonnet's answers are cut", cut),
        Outage(12.5, 14.2, ("gpt",), "503", "gpt fails: 503", busy),
    ):
        yield attrs.evolve(outage, from_s=outage.from_s / speed, until_s=outage.until_s / speed)
