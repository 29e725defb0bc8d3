"""The demo under way: two upstreams on loopback, a kernel over them, and the calls of the scenario.

Not here: what is shown meanwhile; whoever watches is called now and then and reads the state.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from penstock._events import EventStream
from penstock._front import Kernel
from penstock._kernel import open_kernel
from penstock._snapshot import KernelSnapshot
from penstock.cli._demo.scenario import MAX_TOKENS, MODELS, PROVIDERS, TARGETS, Job, Scenario, TargetName
from penstock.cli._demo.tally import Tally
from penstock.errors import PenstockError
from penstock.policy.budget import Amount
from penstock.types import ChatRequest
from penstock_plugins.rehearsal import Served, Upstream, serve

__all__ = ["BINS", "Books", "Moment", "Watch", "play"]

BINS = 64
"""Spans of time that the picture is drawn in."""
EVENTS_KEPT = 1_000_000
"""None may be lost: they are counted."""


@attrs.frozen
class Moment:
    """What a watcher is shown."""

    elapsed: float
    tally: Tally
    snapshot: KernelSnapshot
    states: dict[str, str]
    """By target: closed, open, half_open, cooling."""


Watch = Callable[[Moment], None]


@attrs.frozen
class Books:
    """The run in figures, when everything is over: penstock's, and beside them the upstream's."""

    elapsed: float
    tally: Tally
    ledger: Amount
    """What the budget's root account has spent."""
    accounts: dict[str, tuple[int, int]]
    """By account: spent and limit, in nano-USD."""
    served: dict[str, Served]
    """By target, as the upstream itself counted."""
    events_missed: int


async def play(scenario: Scenario, watch: Watch, *, every: float) -> Books:
    """Runs the scenario to its end. `watch` is called every so many seconds, and once at the end."""
    upstreams = {
        provider: Upstream(scenario.script(provider), latency=scenario.latency) for provider in ("anthropic", "openai")
    }
    tally = Tally(len(scenario.jobs), BINS, scenario.length / BINS)
    began = trio.current_time()
    async with serve(upstreams["anthropic"]) as anthropic, serve(upstreams["openai"]) as openai:
        config = scenario.config({"anthropic": anthropic.url, "openai": f"{openai.url}/v1"})
        async with open_kernel(config) as kernel:
            run = _Run(scenario, kernel, tally, kernel.events(size=EVENTS_KEPT), watch, began)
            await run.to_the_end(every)
            snapshot = await kernel.snapshot()
            run.hear_the_rest()
            run.show()
            elapsed, missed = run.elapsed, run.events.missed
    windows = {path: account.windows[0] for path, account in snapshot.accounts.items()}
    return Books(
        elapsed=elapsed,
        tally=tally,
        ledger=windows[""].spent,
        accounts={
            path: (window.spent.nano_usd, window.limit_nano_usd or 0) for path, window in windows.items() if path
        },
        served={name: _served(upstreams, name) for name in TARGETS},
        events_missed=missed,
    )


@attrs.define(eq=False)
class _Run:
    scenario: Scenario
    kernel: Kernel
    tally: Tally
    events: EventStream
    watch: Watch
    began: float
    """When the upstreams were started: their windows of time count from there."""

    @property
    def elapsed(self) -> float:
        return trio.current_time() - self.began

    async def to_the_end(self, every: float) -> None:
        async with trio.open_nursery() as watching:
            watching.start_soon(self._listen)
            watching.start_soon(self._keep_showing, every)
            async with trio.open_nursery() as calls:
                await self._start_calls(calls)
            watching.cancel_scope.cancel()

    def show(self) -> None:
        states = dict(self.kernel.health().targets)
        self.watch(Moment(self.elapsed, self.tally, self.kernel.snapshot(), states))

    def hear_the_rest(self) -> None:
        for event in self.events.take():
            self.tally.heard(event, self.elapsed)

    async def _listen(self) -> None:
        async for event in self.events:
            self.tally.heard(event, self.elapsed)

    async def _keep_showing(self, every: float) -> None:
        while True:
            self.show()
            await trio.sleep(every)

    async def _start_calls(self, nursery: trio.Nursery) -> None:
        places = trio.Semaphore(self.scenario.concurrency)
        for job in sorted(self.scenario.jobs, key=lambda job: job.at):
            await trio.sleep_until(self.began + job.at)
            await places.acquire()
            self.tally.started += 1
            nursery.start_soon(self._call, job, places)

    async def _call(self, job: Job, places: trio.Semaphore) -> None:
        try:
            if job.streamed:
                await self._stream(job)
            else:
                response = await self.kernel.complete(_request(job), account=job.account)
                self.tally.answered(job, response, response.text, self.elapsed)
        except PenstockError as error:
            self.tally.failed(error)
        finally:
            places.release()

    async def _stream(self, job: Job) -> None:
        pieces: list[str] = []
        async with self.kernel.stream(_request(job), account=job.account) as stream:
            async for piece in stream.text():
                pieces.append(piece)  # noqa: PERF401 - what had come must be there if the stream breaks
            self.tally.answered(job, stream.response, "".join(pieces), self.elapsed)


def _request(job: Job) -> ChatRequest:
    return ChatRequest(job.prompt, max_tokens=MAX_TOKENS, temperature=job.temperature)


def _served(upstreams: dict[str, Upstream], target: TargetName) -> Served:
    return upstreams[PROVIDERS[target]].statistics().served(model=MODELS[target])
