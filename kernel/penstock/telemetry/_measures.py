"""What is measured of calls and attempts, and under which attributes. Pure: a sink takes the figures.

No attribute grows without bound: no account, no id, no text of a provider. Not here: names (`_names`), how figures are
kept (`_metrics`) and sent (`_otel`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from penstock._events import BreakerChanged, RetrySuppressed
from penstock.telemetry import _names as n
from penstock.telemetry._attributes import server_of
from penstock.telemetry._labels import Bounded
from penstock.telemetry._metrics import Instrument, Labels

if TYPE_CHECKING:
    from penstock._attempt import AttemptRun
    from penstock._books import Books
    from penstock._ending import Ended
    from penstock._events import Event
    from penstock._live_target import LiveTarget
    from penstock.telemetry._names import Vocabulary
    from penstock.types import Attempt, Usage

__all__ = ["Measures", "Sink", "instruments"]


class Sink(Protocol):
    """Takes figures by the name of their instrument. Must not raise, and not wait."""

    def add(self, name: str, amount: float, labels: Labels) -> None:
        """Counts up."""
        ...

    def record(self, name: str, value: float, labels: Labels) -> None:
        """One value of a distribution."""
        ...


def instruments(names: Vocabulary) -> tuple[Instrument, ...]:
    """Everything that is measured as it happens. What only stands (queues, breakers, holds) is looked at instead."""
    made = [
        Instrument(names.duration, "s", "Duration of an exchange with a provider.", n.SECONDS),
        Instrument(names.time_to_first_chunk, "s", "Time to the first token of a stream.", n.SECONDS),
        Instrument(names.time_per_output_chunk, "s", "Time from one read of a stream to the next.", n.SECONDS),
        Instrument(n.CALL_DURATION, "s", "Duration of a call, all its attempts and waits in it.", n.SECONDS),
        Instrument(n.CALL_OVERHEAD, "s", "What penstock itself took of a call.", n.SHORT_SECONDS),
        Instrument(n.QUEUE_WAIT, "s", "Time until a call got its place.", n.SECONDS),
        Instrument(n.COST_METRIC, "{USD}", "What attempts cost, as far as their prices are known."),
        Instrument(n.ATTEMPTS_METRIC, "{attempt}", "Exchanges with providers."),
        Instrument(n.SUPPRESSED_METRIC, "{attempt}", "Retries that the retry budget did not allow."),
        Instrument(n.CACHE_METRIC, "{call}", "Calls by what the cache did for them."),
        Instrument(n.BREAKER_CHANGES, "{change}", "Changes of circuit breakers."),
    ]
    for name, says in ((names.token_usage, "Tokens used."), (names.input_tokens, "Input tokens of an exchange.")):
        if name is not None:
            made.append(Instrument(name, "{token}", says, n.TOKENS))
    if names.output_tokens is not None:
        made.append(Instrument(names.output_tokens, "{token}", "Output tokens of an exchange.", n.TOKENS))
    made += [Instrument(name, "{token}", f"Tokens: {field}.") for field, name in names.usage_counters.items()]
    return tuple(made)


class _Series:
    """The labels of attempts that are alike, put together once."""

    __slots__ = ("answered", "labels", "read", "target", "written")

    def __init__(self, labels: Labels, target: str) -> None:
        self.labels = labels
        self.read: Labels = (*labels, (n.TOKEN_TYPE, "input"))
        self.written: Labels = (*labels, (n.TOKEN_TYPE, "output"))
        self.target: Labels = ((n.TARGET, target),)
        self.answered: Labels = (*self.target, (n.OUTCOME, "ok"))


class Measures:
    """Turns what happened into figures."""

    def __init__(self, names: Vocabulary, sink: Sink) -> None:
        self._names = names
        self._sink = sink
        self._models = Bounded()
        self._answering = Bounded()
        self._targets = Bounded()
        self._scopes = Bounded()
        self._routes = Bounded()
        self._errors = Bounded(64)
        self._labels: dict[tuple[str, str | None, str | None], _Series] = {}

    def attempt_ended(self, attempt: AttemptRun, told: Attempt, provider: str) -> None:
        """An exchange is over. `provider` is the conventions' word for its provider."""
        sink, names = self._sink, self._names
        completion = attempt.completion
        model = None if completion is None else completion.model or attempt.target.wire.model
        series = self._series_of(attempt.target, provider, attempt.exchange.url, model)
        labels = series.labels
        if told.outcome == "ok":
            sink.record(names.duration, told.duration, labels)
            sink.add(n.ATTEMPTS_METRIC, 1, series.answered)
        else:
            outcome = "cancelled" if told.outcome == "cancelled" else self._errors(told.outcome)
            sink.record(names.duration, told.duration, (*labels, (n.ERROR_TYPE, outcome)))
            sink.add(n.ATTEMPTS_METRIC, 1, (*series.target, (n.OUTCOME, outcome)))
        if told.first_token is not None:
            sink.record(names.time_to_first_chunk, told.first_token, labels)
        if told.cost:
            sink.add(n.COST_METRIC, float(told.cost), series.target)
        if told.usage is not None and not told.usage.estimated:
            self._tokens(told.usage, series)

    def chunk(self, seconds: float, target: LiveTarget, provider: str, url: str | None) -> None:
        """A read of a stream brought something, so long after the one before."""
        self._sink.record(self._names.time_per_output_chunk, seconds, self._series_of(target, provider, url).labels)

    def placed(self, waited: float) -> None:
        """A call got its place."""
        self._sink.record(n.QUEUE_WAIT, waited, ())

    def call_ended(self, route: str, ended: Ended, books: Books, duration: float, queued: float) -> None:
        """A call is over."""
        outcome = ended.outcome if ended.outcome in {"ok", "cancelled"} else self._errors(ended.outcome)
        by_route = (n.ROUTE, self._routes(route))
        self._sink.record(n.CALL_DURATION, duration, (by_route, (n.OUTCOME, outcome)))
        if ended.cache != "off":
            self._sink.add(n.CACHE_METRIC, 1, (by_route, (n.CACHE, ended.cache)))
        # Of two in a race the times overlap, and a follower waits for another call: neither is penstock's own time.
        if ended.outcome == "ok" and books.attempts and ended.cache in {"off", "miss"}:
            own = duration - queued
            for each in books.attempts:
                if each.hedge:
                    return
                own -= each.duration + each.waited
            self._sink.record(n.CALL_OVERHEAD, max(0.0, own), (by_route,))

    def heard(self, event: Event) -> None:
        """Something happened beside the calls."""
        match event:
            case RetrySuppressed():
                labels: Labels = ((n.SUPPRESSED_PROVIDER, event.provider), (n.SUPPRESSED_REASON, event.reason))
                self._sink.add(n.SUPPRESSED_METRIC, 1, labels)
            case BreakerChanged():
                labels = ((n.BREAKER_SCOPE, self._scopes(event.scope)), (n.BREAKER_METRIC, event.after))
                self._sink.add(n.BREAKER_CHANGES, 1, labels)
            case _:
                pass

    def _tokens(self, usage: Usage, series: _Series) -> None:
        sink, names, labels = self._sink, self._names, series.labels
        if names.token_usage is not None:
            sink.record(names.token_usage, usage.input_tokens, series.read)
            sink.record(names.token_usage, usage.output_tokens, series.written)
        if names.input_tokens is not None:
            sink.record(names.input_tokens, usage.input_tokens, labels)
        if names.output_tokens is not None:
            sink.record(names.output_tokens, usage.output_tokens, labels)
        for field, name in names.usage_counters.items():
            # No provider tells all tokens by modality: the conventions have a word for that.
            if tokens := getattr(usage, field):
                sink.add(name, tokens, (*labels, (n.TOKEN_MODALITY, "unknown")))

    def _series_of(self, target: LiveTarget, provider: str, url: str | None, model: str | None = None) -> _Series:
        """`model` is the one that answered, where it is known."""
        found = self._labels.get((target.name, url, model))
        if found is None:
            labels: list[tuple[str, str | int]] = [
                (n.OPERATION, n.CHAT),
                (n.PROVIDER, provider),
                (n.REQUEST_MODEL, self._models(target.wire.model)),
            ]
            server = None if url is None else server_of(url)
            if server is not None:
                labels += [(n.SERVER_ADDRESS, server[0]), (n.SERVER_PORT, server[1])]
            if model is not None:
                labels.append((n.RESPONSE_MODEL, self._answering(model)))
            if len(self._labels) >= 1_024:
                self._labels.clear()
            found = self._labels[target.name, url, model] = _Series(tuple(labels), self._targets(target.name))
        return found
