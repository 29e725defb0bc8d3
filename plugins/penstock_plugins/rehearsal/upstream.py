"""An LLM provider without a network: takes a request as a value, gives a plan, keeps its books. Pure, with a state.

Not here: sockets and waiting (`socket_front`, `transport_front`). Fronts hand in the time, tell what was written, and
say when an exchange is over.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence

from msgspec import Struct

from penstock.types import WireRequest
from penstock_plugins.rehearsal.anthropic_wire import AnthropicWire
from penstock_plugins.rehearsal.ask import Ask, BadRequest
from penstock_plugins.rehearsal.chance import digest
from penstock_plugins.rehearsal.faults import fault_name
from penstock_plugins.rehearsal.latency import Latency
from penstock_plugins.rehearsal.ledger import Account, Ledger, Served, Statistics
from penstock_plugins.rehearsal.openai_wire import OpenAIWire
from penstock_plugins.rehearsal.plan import Connect, Data, End, Head, Step, Upload
from penstock_plugins.rehearsal.replay import Replay, recorded_reply
from penstock_plugins.rehearsal.reply import Scene, dated
from penstock_plugins.rehearsal.sabotage import Plan, error_plan, make_plan
from penstock_plugins.rehearsal.script import Script, Sight, WireName
from penstock_plugins.rehearsal.wire import Reply, Stamp, Trouble, Wire

__all__ = ["LARGEST_BODY", "Exchange", "Seen", "Upstream"]

LARGEST_BODY = 32 * 1024 * 1024
_REMEMBERED = 65_536
"""Contents whose occurrences are counted; beyond that the longest unseen is forgotten and counts from 1 again."""

_WIRES: tuple[Wire, ...] = (OpenAIWire(), AnthropicWire())


class Seen(Struct, frozen=True, kw_only=True):
    """What an observer is told of an exchange that is over: no prompt, no answer, no key."""

    wire: WireName | None
    model: str
    key: str
    """The label of the caller's key."""
    elapsed_s: float
    """When it was read, in seconds since the upstream was started."""
    streamed: bool
    status: int | None
    """None: no head was written."""
    fault: str | None
    completed: bool
    input_tokens: int
    output_tokens: int


class Upstream:
    """Answers requests of every wire it knows, by a script. One upstream may stand behind several fronts.

    `models`: the only ones that exist; None: all do. `observe` is called after each exchange and must not raise.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        latency: Latency | None = None,
        replays: Sequence[Replay] = (),
        models: Sequence[str] | None = None,
        observe: Callable[[Seen], None] | None = None,
    ) -> None:
        self.script = Script() if script is None else script
        self._latency = Latency() if latency is None else latency
        self._replays = tuple(replays)
        self._models = None if models is None else frozenset(models)
        self._observe = observe
        self._ledger = Ledger()
        self._started: float | None = None
        self._exchanges = 0
        self._numbers: Counter[tuple[WireName, str, str]] = Counter()
        self._occurrences: OrderedDict[str, int] = OrderedDict()

    def start(self, now: float) -> None:
        """The windows of the script count from the first call of this; later ones change nothing."""
        if self._started is None:
            self._started = now

    def port_is_closed(self, now: float) -> bool:
        """True while the script wants every connection refused."""
        return self.script.port_is_closed(self._elapsed(now))

    def next_change(self, now: float) -> float:
        """When to ask `port_is_closed` again; infinity: never."""
        return now + self.script.next_change(self._elapsed(now)) - self._elapsed(now)

    def receive(self, request: WireRequest, *, now: float, wall: float) -> Exchange:
        """Decides what happens to a request that was read whole. `now` is monotonic, `wall` is Unix time."""
        self.start(now)
        in_flight = self._ledger.enter()
        self._exchanges += 1
        path = request.url.partition("?")[0]
        wire = next((wire for wire in _WIRES if wire.owns(path)), None)
        stamp = Stamp(digest(f"{self.script.seed}/{self._exchanges}".encode()), wall)
        ask = _understand(wire, request, stamp)
        if isinstance(ask, Reply):
            plan = error_plan(dated(ask, stamp), bodiless=request.method == "HEAD")
            return Exchange(self._ledger, plan, None, elapsed_s=self._elapsed(now), observe=self._observe)
        assert wire is not None, "an unknown path has no reader"
        return self._answer(wire, ask, stamp, now=now, in_flight=in_flight)

    def statistics(self) -> Statistics:
        """The books as they are now."""
        return self._ledger.statistics()

    def _answer(self, wire: Wire, ask: Ask, stamp: Stamp, *, now: float, in_flight: int) -> Exchange:
        if self._models is not None and ask.model not in self._models:
            plan = error_plan(dated(wire.error("model_not_found", stamp), stamp))
            return Exchange(self._ledger, plan, ask, elapsed_s=self._elapsed(now), observe=self._observe)
        sight = self._sight(ask, now=now, in_flight=in_flight)
        fault = self.script.choose(sight)
        name = f"{sight.content}/{sight.occurrence}"
        replay = next((replay for replay in self._replays if replay.answers(ask)), None)
        scene = Scene(
            ask,
            wire,
            stamp,
            first_s=self._latency.first(self.script.seed, name),
            chunk_s=lambda number: self._latency.chunk(self.script.seed, name, number),
            recorded=None if replay is None else recorded_reply(replay, wire),
        )
        struck = None if fault is None else fault_name(fault)
        plan = make_plan(fault, scene)
        return Exchange(self._ledger, plan, ask, fault=struck, elapsed_s=sight.elapsed_s, observe=self._observe)

    def _sight(self, ask: Ask, *, now: float, in_flight: int) -> Sight:
        self._numbers[ask.wire, ask.model, ask.key] += 1
        occurrence = self._occurrences.pop(ask.content, 0) + 1
        self._occurrences[ask.content] = occurrence
        if len(self._occurrences) > _REMEMBERED:
            self._occurrences.popitem(last=False)
        return Sight(
            wire=ask.wire,
            model=ask.model,
            key=ask.key,
            streamed=ask.streamed,
            elapsed_s=self._elapsed(now),
            number=self._numbers[ask.wire, ask.model, ask.key],
            in_flight=in_flight,
            content=ask.content,
            occurrence=occurrence,
        )

    def _elapsed(self, now: float) -> float:
        return 0.0 if self._started is None else now - self._started


class Exchange:
    """One request under way. The front plays `steps`, tells each that was done, and closes the exchange."""

    def __init__(
        self,
        ledger: Ledger,
        plan: Plan,
        ask: Ask | None,
        *,
        fault: str | None = None,
        elapsed_s: float = 0.0,
        observe: Callable[[Seen], None] | None = None,
    ) -> None:
        self.steps: tuple[Step, ...] = plan.steps
        self._ledger = ledger
        self._account = None if ask is None else Account(ask.wire, ask.model, ask.key)
        self._streamed = ask is not None and ask.streamed
        self._elapsed_s = elapsed_s
        self._observe = observe
        self.fault = fault
        """The name of the fault it meets, or None."""
        self._status: int | None = None
        self._ended = False
        self._closed = False
        self._billed = plan.billed
        self._asked_tokens = ask.input_tokens if ask is not None and plan.billed else 0
        self._input_tokens = 0
        self._output_tokens = 0
        if fault is not None:
            ledger.count_fault(fault)
        if not isinstance(self.steps[0], Connect | Upload):
            self._was_read()

    def did(self, step: Step) -> None:
        """The step is on its way to the client."""
        match step:
            case Connect() | Upload():
                self._was_read()
            case Head(status=status):
                self._status = status
                self._ledger.count_status(status)
            case Data(output_tokens=tokens) if tokens:
                self._output_tokens += tokens
                self._book(Served(output_tokens=tokens))
            case End() if self._status is not None and self._status < 400:
                self._ended = True
                self._book(Served(completed=1))
            case _:
                pass

    def close(self) -> None:
        """The exchange is over, however it ended. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._ledger.leave()
        if self._observe is not None:
            self._observe(self._seen())

    def _was_read(self) -> None:
        self._input_tokens = self._asked_tokens
        self._book(Served(requests=1, refused=0 if self._billed else 1, input_tokens=self._input_tokens))

    def _book(self, more: Served) -> None:
        if self._account is not None:
            self._ledger.book(self._account, more)

    def _seen(self) -> Seen:
        return Seen(
            wire=None if self._account is None else self._account.wire,
            model="" if self._account is None else self._account.model,
            key="" if self._account is None else self._account.key,
            elapsed_s=self._elapsed_s,
            streamed=self._streamed,
            status=self._status,
            fault=self.fault,
            completed=self._ended,
            input_tokens=self._input_tokens,
            output_tokens=self._output_tokens,
        )


def _understand(wire: Wire | None, request: WireRequest, stamp: Stamp) -> Ask | Reply:
    """What is asked, or the error response for a request that cannot be answered."""
    if wire is None:
        return _WIRES[0].error("not_found", stamp)
    trouble: Trouble | None = None
    if request.method != "POST":
        trouble = "method"
    elif not wire.key(request.headers):
        trouble = "wrong_key"
    elif len(request.body) > LARGEST_BODY:
        trouble = "too_large"
    if trouble is not None:
        return wire.error(trouble, stamp)
    try:
        return wire.read(request)
    except BadRequest as error:
        return wire.error("invalid_request", stamp, message=str(error))
