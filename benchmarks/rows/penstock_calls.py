"""What penstock's rows share: one configuration with everything on, and the jobs over a kernel that has it.

The fixture: a route of three targets, accounts three deep with a limit per day and one per request on each, breakers,
retries and the cache on (every call is a miss and a store). Options after the kind of answer, as in `now?targets=1000`,
make one of these large: that is how the cost of size is measured.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import trio

import penstock
from benchmarks.rows.bodies import ANTHROPIC_MODEL, MAX_TOKENS, OPENAI_MODEL, QUESTION, prompt
from benchmarks.worker import Job, Jobs, NotBuiltError

PACKAGES = ("penstock", "trio", "httpx", "h11", "msgspec")
COMMITS = ("buffer", "whole", "continue", "restart")
"""Beside `first_content`."""
JOBS = ("call", "openai", "anthropic", "hit", "hold", *(f"openai {commit}" for commit in COMMITS))
DOES = (
    "3 targets with fallbacks, retries, breakers, budgets of accounts 3 deep by day and request, the cache "
    "(a miss and a store), attempts told"
)
MAX_IN_FLIGHT = 1_024
SHARE_ALIKE = 32
"""Questions asked in turn where the cache answers, so that no single entry is all that is ever read."""
SETTLING_S = 0.2
"""For a stream that nobody reads on: until all that it may keep in memory is full."""


def settings(origin: str, kind: str, options: dict[str, str]) -> dict[str, Any]:
    """Everything on, in memory."""
    day = {"per": "day", "tokens": 10**12}
    request = {"per": "request", "input_tokens": 10**6}
    limits = {} if options.get("limits") == "none" else {"limits": [day, request]}
    targets, cascade = int(options.get("targets", 3)), int(options.get("cascade", 3))
    names = [OPENAI_MODEL, "gpt-4o-mini", "gpt-4.1", *(f"model-{at}" for at in range(3, max(targets, cascade)))]
    price = {"input": 2.5, "output": 10.0}
    declared = {f"target-{at}": {"provider": "openai", "model": name, "price": price} for at, name in enumerate(names)}
    return {
        "kernel": {"max_in_flight": MAX_IN_FLIGHT},
        "providers": {
            "openai": {"base_url": f"{origin}/{kind}/v1", "api_key": "sk-bench"},
            "anthropic": {"base_url": f"{origin}/{kind}", "api_key": "sk-bench"},
            "held": held_provider(origin, options),
        },
        "targets": declared,
        "routes": {
            "default": {"cascade": list(declared)[:cascade]},
            "anthropic": {"cascade": [f"anthropic/{ANTHROPIC_MODEL}"]},
            "held": {"cascade": [f"held/{OPENAI_MODEL}"]},
        },
        # Answers that are wanted whole come whole, as from every other client.
        "defaults": {"upstream_stream": "never"},
        "budget": limits,
        "accounts": {"team": limits, "team/*": limits},
        "cache": {"store": "memory", "when": "deterministic"},
    }


def held_provider(origin: str, options: dict[str, str]) -> dict[str, Any]:
    """Whose streams nobody reads: behind TLS where a port of a TLS front is given."""
    provider = {"kind": "openai", "base_url": f"{origin}/burst/v1", "api_key": "sk-bench"}
    if "tls" in options:
        provider |= {"base_url": f"https://127.0.0.1:{options['tls']}/burst/v1", "ca_file": options["ca"]}
    return provider


def jobs_of(kernel: penstock.Kernel, streams: AsyncExitStack, *, accounts: int) -> Jobs:
    """What is measured of a kernel."""
    names = [f"team/user-{number}" for number in range(accounts)]

    async def call(number: int) -> int:
        account = names[number % accounts]
        answer = await kernel.complete(prompt(number), temperature=0, max_tokens=MAX_TOKENS, account=account)
        assert answer.cache == "miss", answer.cache
        return 1

    async def hit(number: int) -> int:
        asked = prompt(number % SHARE_ALIKE)
        await kernel.complete(asked, temperature=0, max_tokens=MAX_TOKENS, account=names[0])
        return 1

    def reading(route: str, commit: str) -> Job:
        async def read(_: int) -> int:
            seen = 0
            async with kernel.stream(
                QUESTION, route=route, max_tokens=8_000, account=names[0], commit=commit
            ) as stream:
                async for _chunk in stream:
                    seen += 1
            assert stream.response.finish_reason == "stop"
            return seen

        return read

    async def hold(_: int) -> int:
        """One more stream is open from now on, of which nobody reads more than the first chunk."""
        stream = await streams.enter_async_context(
            kernel.stream(QUESTION, route="held", max_tokens=8_000, account=names[0])
        )
        await anext(aiter(stream))
        await trio.sleep(SETTLING_S)
        return 1

    return {
        "call": call,
        "hit": hit,
        "hold": hold,
        "openai": reading("default", "first_content"),
        "anthropic": reading("anthropic", "first_content"),
        **{f"openai {commit}": reading("default", commit) for commit in COMMITS},
    }


@asynccontextmanager
async def opened_with(origin: str, kind: str, changes: dict[str, Any]) -> AsyncGenerator[Jobs]:
    """A kernel whose configuration has these sections instead. Files that it keeps are in a folder of their own."""
    kind, _, said = kind.partition("?")
    options = dict(parse_qsl(said))
    tables = settings(origin, "now" if kind == "hit" else kind, options) | changes
    with tempfile.TemporaryDirectory() as folder:
        try:
            config = penstock.Config.from_dict(tables, source=Path(folder, "penstock.toml"), environ={})
        except penstock.ConfigError as error:
            if "not available in this version" in str(error):
                raise NotBuiltError(", ".join(f"[{name}]" for name in changes) + " is not in this version") from None
            raise
        async with penstock.open_kernel(config) as kernel, AsyncExitStack() as streams:
            yield jobs_of(kernel, streams, accounts=int(options.get("accounts", 1)))
