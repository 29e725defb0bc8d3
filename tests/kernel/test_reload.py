"""Another configuration for a kernel that runs: what it changes, what it may not, and who is left alone."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import httpx
import msgspec
import pytest
import trio
import trio.lowlevel
from worlds import CASCADE, GPT, KEY, SONNET, config, good, model_of, run

import penstock
from penstock import errors
from penstock._config import Config
from penstock._events import Reloaded
from penstock._reload import FREE_SECTIONS, FREE_SETTINGS
from penstock.testing import Broken, Reply, ScriptedTransport

MILLION = 1_000_000


def limited(*limits: dict[str, object], **tables: Any) -> penstock.Config:
    return config(budget={"limits": list(limits)}, **tables)


def day(tokens: int, **more: object) -> dict[str, object]:
    return {"per": "day", "tokens": tokens, **more}


def window(kernel: penstock.Kernel, account: str = "") -> tuple[int | None, int, int]:
    """Limit, held and spent, in tokens."""
    (found,) = kernel.snapshot().accounts[account].windows
    return found.limit_tokens, found.held.tokens, found.spent.tokens


def slow(request: httpx.Request) -> Reply:
    return Reply(json=good(request).json, delay=10.0)


def briefly(request: httpx.Request) -> Reply:
    return Reply(json=good(request).json, delay=0.3)


async def refusal_of(kernel: penstock.Kernel, changed: penstock.Config | Path) -> list[str]:
    """The paths of what may not change."""
    with pytest.raises(errors.ConfigError) as caught:
        await kernel.reload(changed)
    return [mistake.path for mistake in caught.value.mistakes]


# Limits


def test_a_limit_changes_and_what_is_spent_and_held_stays() -> None:
    async def main() -> None:
        async with penstock.open_kernel(limited(day(20_000)), transport=ScriptedTransport(slow)) as kernel:
            await kernel.complete("hello", model=GPT, max_tokens=2_000)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: kernel.complete("hello", model=GPT, max_tokens=2_000))
                await trio.sleep(5)
                limit, held, spent = window(kernel)
                assert (limit, spent) == (20_000, 14)
                assert held > 2_000
                await kernel.reload(limited(day(30_000)))
                assert window(kernel) == (30_000, held, 14)
            await kernel.snapshot()
            assert window(kernel) == (30_000, 0, 28)

    run(main)


def test_a_limit_below_what_is_spent_lets_nothing_new_through_and_a_higher_one_does() -> None:
    async def main() -> None:
        upstream = ScriptedTransport(good)
        async with penstock.open_kernel(limited(day(20_000)), transport=upstream) as kernel:
            await kernel.complete("hello", model=GPT)
            await kernel.reload(limited(day(10)))
            with pytest.raises(errors.BudgetExceededError, match="10 tokens per day"):
                await kernel.complete("hello", model=GPT)
            await kernel.reload(limited(day(20_000)))
            await kernel.complete("hello", model=GPT)
            assert len(upstream.requests) == 2

    run(main)


@pytest.mark.parametrize("ledger", ["memory", "sqlite"])
def test_calls_under_way_where_nothing_was_limited_are_booked_in_the_limits_that_came_meanwhile(
    tmp_path: Path, ledger: str
) -> None:
    tables: dict[str, Any] = {"ledger": {"store": ledger}}
    if ledger == "sqlite":
        tables["ledger"]["path"] = str(tmp_path / "ledger.db")

    async def main() -> None:
        async with penstock.open_kernel(config(**tables), transport=ScriptedTransport(briefly)) as kernel:
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(lambda: kernel.complete("hello", model=GPT, max_tokens=2_000))
                await trio.sleep(0.1)
                await kernel.reload(limited(day(40), **tables))
            (found,) = (await kernel.snapshot()).accounts[""].windows
            assert (found.held.tokens, found.spent.tokens) == (0, 3 * 14)
            with pytest.raises(errors.BudgetExceededError, match="40 tokens per day"):
                await kernel.complete("hello", model=GPT, max_tokens=2)

    (run if ledger == "memory" else trio.run)(main)


@pytest.mark.parametrize("ledger", ["memory", "sqlite"])
@pytest.mark.parametrize("others", [0, 1])
def test_a_limit_that_was_taken_away_finds_what_was_spent_meanwhile_when_it_comes_back(
    tmp_path: Path, ledger: str, others: int
) -> None:
    tables: dict[str, Any] = {"ledger": {"store": ledger}}
    if ledger == "sqlite":
        tables["ledger"]["path"] = str(tmp_path / "ledger.db")
    tables["accounts"] = {"other": {"limits": [day(1)] * others}}

    # Its bound is 2,087: there is room for it beside one, and not beside two.
    room = 2_110

    async def main() -> None:
        async with penstock.open_kernel(limited(day(room), **tables), transport=ScriptedTransport(good)) as kernel:
            for limits in ([day(room)], []):
                await kernel.reload(limited(*limits, **tables))
                await kernel.complete("hello", model=GPT, max_tokens=2)
            await kernel.reload(limited(day(room), **tables))
            (found,) = (await kernel.snapshot()).accounts[""].windows
            assert (found.held.tokens, found.spent.tokens) == (0, 2 * 14)
            with pytest.raises(errors.BudgetExceededError, match="2110 tokens per day"):
                await kernel.complete("hello", model=GPT, max_tokens=2)

    (run if ledger == "memory" else trio.run)(main)


def test_calls_that_wait_for_room_go_as_soon_as_a_reload_makes_it() -> None:
    async def main() -> None:
        async with penstock.open_kernel(limited(day(5_000)), transport=ScriptedTransport(slow)) as kernel:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: kernel.complete("hello", model=GPT, max_tokens=2_000))
                await trio.sleep(1)
                nursery.start_soon(lambda: kernel.complete("hello", model=GPT, max_tokens=2_000))
                await trio.sleep(1)
                before = window(kernel)[1]
                await kernel.reload(limited(day(50_000)))
                await trio.lowlevel.checkpoint()
                assert window(kernel)[1] == 2 * before
            assert trio.current_time() < 13  # the second waited for the reload, not for the first

    run(main)


def test_a_new_window_begins_with_what_the_account_has_spent_in_the_same_period() -> None:
    async def main() -> None:
        async with penstock.open_kernel(limited(day(20_000)), transport=ScriptedTransport(good)) as kernel:
            await kernel.complete("hello", model=GPT)
            await kernel.reload(limited(day(20_000, timezone="Europe/Berlin")))
            await kernel.snapshot()
            assert window(kernel) == (20_000, 0, 14)

    run(main)


def test_an_account_can_be_declared_and_taken_away() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            await kernel.complete("hello", model=GPT, account="team")
            assert kernel.snapshot().accounts == {}
            await kernel.reload(config(accounts={"team": {"limits": [day(9_000)]}}))
            await kernel.complete("hello", model=GPT, account="team")
            await kernel.snapshot()
            assert window(kernel, "team") == (9_000, 0, 14)
            await kernel.reload(config())
            assert kernel.snapshot().accounts == {}

    run(main)


def test_the_rules_of_the_budget_change_too() -> None:
    async def main() -> None:
        dollars: dict[str, object] = {"per": "day", "usd": 5}
        async with penstock.open_kernel(limited(dollars), transport=ScriptedTransport(good)) as kernel:
            with pytest.raises(errors.BudgetExceededError, match="price of my-model"):
                await kernel.complete("hello", model="openai/my-model")
            await kernel.reload(config(budget={"limits": [dollars], "on_unknown_price": "allow"}))
            await kernel.complete("hello", model="openai/my-model")

    run(main)


# Where calls go


def test_routes_targets_prices_and_defaults_change_for_calls_that_begin_later() -> None:
    async def main() -> None:
        upstream = ScriptedTransport(good)
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            await kernel.complete("hello")
            changed = config(
                targets={
                    "cheap": {
                        "provider": "openai",
                        "model": "gpt-4o-mini",
                        "price": {"input": 1.0, "output": 1.0},
                        "params": {"temperature": 0.5},
                    }
                },
                routes={"default": {"cascade": ["cheap"]}, "other": {"cascade": [GPT]}},
            )
            await kernel.reload(changed)
            response = await kernel.complete("hello")
            assert (response.target, response.cost) == ("cheap", Decimal("0.000014"))
            assert (await kernel.complete("hello", route="other")).target == GPT
            assert [model_of(request) for request in upstream.requests][1:] == ["gpt-4o-mini", "gpt-4o"]
            assert msgspec.json.decode(upstream.requests[1].content)["temperature"] == 0.5
            assert set(kernel.health().targets) == {"cheap", GPT}

    run(main)


def test_a_call_in_flight_keeps_what_it_began_with() -> None:
    def answer(request: httpx.Request) -> Reply | Broken:
        if model_of(request).startswith("claude"):
            return Broken(delay=5.0)
        return good(request)

    async def main() -> None:
        settings = config(routes={"default": {"cascade": [{"target": SONNET, "attempts": 1}, GPT]}})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            responses: list[penstock.ChatResponse] = []

            async def call() -> None:
                responses.append(await kernel.complete("hello"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await trio.sleep(1)
                changed = config(
                    routes={"default": {"cascade": [SONNET], "timeout": 1}}, defaults={"timeouts": {"total": 1}}
                )
                await kernel.reload(changed)
                with pytest.raises(errors.DeadlineExceededError):
                    await kernel.complete("hello")
            # It fell over, later than the new timeout, to a target that the new route does not have.
            assert responses[0].target == GPT

    run(main)


def test_breakers_and_retry_budgets_go_by_the_new_settings_and_forget_nothing() -> None:
    async def main() -> None:
        settings = config(routes={"default": {"cascade": [{"target": GPT, "attempts": 1}]}})
        async with penstock.open_kernel(settings, transport=ScriptedTransport([Reply(status=500)])) as kernel:
            for _ in range(3):
                with pytest.raises(errors.ServerError):
                    await kernel.complete("hello")
            assert (await kernel.snapshot()).breakers == {}
            stricter = {"failures_in_a_row": 4}
            await kernel.reload(attrs.evolve(config(breaker=stricter), routes=settings.routes))
            with pytest.raises(errors.ServerError):
                await kernel.complete("hello")
            assert f"target:{GPT}" in (await kernel.snapshot()).breakers

    run(main)


def test_a_retry_budget_of_none_ends_retries_at_once() -> None:
    async def main() -> None:
        route = {"default": {"cascade": [{"target": GPT, "attempts": 3}]}}
        upstream = ScriptedTransport([Reply(status=500)])
        async with penstock.open_kernel(config(routes=route), transport=upstream) as kernel:
            with pytest.raises(errors.ServerError):
                await kernel.complete("hello")
            assert len(upstream.requests) == 3
            await kernel.reload(config(routes=route, retry_budget={"floor": 0, "ratio": 0}))
            with pytest.raises(errors.ServerError, match="retry budget"):
                await kernel.complete("hello")
            assert len(upstream.requests) == 4

    run(main)


def test_a_new_key_is_sent_from_then_on_and_the_circuit_of_the_old_one_is_closed() -> None:
    def answer(request: httpx.Request) -> Reply:
        sent = request.headers["authorization"]
        return good(request) if sent == "Bearer sk-new" else Reply(status=401)

    async def main() -> None:
        upstream = ScriptedTransport(answer)
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            with pytest.raises(errors.AuthenticationError):
                await kernel.complete("hello", model=GPT)
            assert "key:openai/0" in (await kernel.snapshot()).breakers
            changed = config(providers={"anthropic": {"api_key": KEY}, "openai": {"api_key": "sk-new"}})
            await kernel.reload(changed)
            assert "key:openai/0" not in (await kernel.snapshot()).breakers
            assert (await kernel.complete("hello", model=GPT)).text == "forty-two"

    run(main)


def test_the_same_key_leaves_its_circuit_open() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport([Reply(status=401)])) as kernel:
            with pytest.raises(errors.AuthenticationError):
                await kernel.complete("hello", model=GPT)
            await kernel.reload(config())
            assert "key:openai/0" in (await kernel.snapshot()).breakers

    run(main)


# What may not change


@pytest.mark.parametrize(
    ("tables", "paths"),
    [
        ({"kernel": {"max_in_flight": 7}}, ["kernel.max_in_flight"]),
        ({"ledger": {"store": "memory", "lease": 30}}, ["ledger.lease"]),
        ({"ledger": {"store": "memory", "on_store_down": "allow"}}, ["ledger.on_store_down"]),
        ({"cache": {"store": "memory"}}, ["cache"]),
        ({"plugins": {"discover": False}}, ["plugins.discover"]),
        ({"providers": {"local": {"kind": "openai", "base_url": "http://127.0.0.1:1/v1"}}}, ["providers.local"]),
        ({"providers": {"openai": {"api_key": KEY, "base_url": "http://h/v1"}}}, ["providers.openai.base_url"]),
        ({"providers": {"openai": {"api_key": KEY, "max_connections": 3}}}, ["providers.openai.max_connections"]),
        (
            {"kernel": {"max_in_flight": 7, "grace": 1}, "ledger": {"store": "memory", "timeout": 1}},
            ["kernel.max_in_flight", "ledger.timeout"],
        ),
    ],
)
def test_what_cannot_change_is_named_and_nothing_is_changed(tables: dict[str, Any], paths: list[str]) -> None:
    async def main() -> None:
        async with penstock.open_kernel(limited(day(20_000)), transport=ScriptedTransport(good)) as kernel:
            await kernel.complete("hello", model=GPT)
            changed = limited(day(10), routes={"default": {"cascade": [GPT]}}, **tables)
            assert await refusal_of(kernel, changed) == paths
            await kernel.snapshot()
            assert window(kernel) == (20_000, 0, 14)
            assert list(kernel.health().targets) == [stage["target"] for stage in CASCADE]

    run(main)


def test_of_the_cache_only_when_may_change() -> None:
    async def main() -> None:
        cached = {"store": "memory", "when": "never"}
        upstream = ScriptedTransport(good)
        async with penstock.open_kernel(config(cache=cached), transport=upstream) as kernel:
            assert await refusal_of(kernel, config(cache={**cached, "ttl": 5})) == ["cache.ttl"]
            assert await refusal_of(kernel, config()) == ["cache"]
            await kernel.reload(config(cache={**cached, "when": "always"}))
            await kernel.complete("hello", model=GPT)
            assert (await kernel.complete("hello", model=GPT)).cache == "hit"

    run(main)


def test_every_section_of_a_configuration_is_free_or_checked() -> None:
    sections = {field.name for field in attrs.fields(Config)} - {"source"}
    assert sections == FREE_SECTIONS | FREE_SETTINGS.keys()
    for section, free in FREE_SETTINGS.items():
        kinds = {"kernel": "KernelSettings", "providers": "ProviderConfig", "cache": "CacheConfig"}
        if free:
            cls = getattr(__import__("penstock._config", fromlist=["Config"]), kinds[section])
            assert free <= {field.name for field in attrs.fields(cls)}


def test_a_provider_may_be_left_out_and_come_back() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            alone = Config.from_dict(
                {"providers": {"openai": {"api_key": KEY}}, "routes": {"default": {"cascade": [GPT]}}}
            )
            await kernel.reload(alone)
            with pytest.raises(errors.NoRouteError):
                await kernel.complete("hello", model=SONNET)
            await kernel.reload(config())
            assert (await kernel.complete("hello")).target == SONNET

    run(main)


# The way of it


def test_a_file_is_read_and_its_mistakes_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "penstock.toml"
    text = f'[providers.openai]\napi_key = "{KEY}"\n[routes.default]\ncascade = ["{GPT}"]\n[budget]\n'
    path.write_text(text + 'limits = [{ per = "day", tokens = 20000 }]\n')

    async def main() -> None:
        async with penstock.open_kernel(path, transport=ScriptedTransport(good)) as kernel:
            path.write_text(text + 'limits = [{ per = "dya", tokens = 5 }]\n')
            assert await refusal_of(kernel, path) == ["budget.limits[0].per"]
            assert window(kernel) == (20_000, 0, 0)
            path.write_text(text + 'limits = [{ per = "day", tokens = 30000 }]\n')
            await kernel.reload(str(path))
            assert window(kernel) == (30_000, 0, 0)

    run(main)


def test_a_file_in_another_folder_may_not_move_the_ledger(tmp_path: Path) -> None:
    text = f'[providers.openai]\napi_key = "{KEY}"\n[routes.default]\ncascade = ["{GPT}"]\n[ledger]\n'
    (tmp_path / "elsewhere").mkdir()
    here, there, beside = (tmp_path / name for name in ("a.toml", "elsewhere/a.toml", "b.toml"))
    for path in (here, there, beside):
        path.write_text(text)

    async def main() -> None:
        async with penstock.open_kernel(here, transport=ScriptedTransport(good)) as kernel:
            assert await refusal_of(kernel, there) == ["ledger.path"]
            await kernel.reload(beside)

    trio.run(main)  # the file's thread knows no virtual time


def test_listeners_hear_of_it_with_the_sections_that_differ() -> None:
    async def main() -> None:
        async with penstock.open_kernel(limited(day(20_000)), transport=ScriptedTransport(good)) as kernel:
            with kernel.events() as events:
                await kernel.reload(limited(day(30_000), kernel={"timeout": 5}))
                await kernel.reload(limited(day(30_000), kernel={"timeout": 5}))
            heard = [event.changed for event in events.take() if isinstance(event, Reloaded)]
            assert heard == [("kernel", "budget"), ()]

    run(main)


def test_a_reload_whose_caller_leaves_is_whole_or_was_not() -> None:
    old, new = limited(day(20_000)), limited(day(30_000), routes={"default": {"cascade": [GPT]}})

    async def main() -> None:
        seen: set[bool] = set()
        async with penstock.open_kernel(old, transport=ScriptedTransport(good)) as kernel:
            for steps in range(8):
                await kernel.reload(old)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(kernel.reload, new)
                    for _ in range(steps):
                        await trio.lowlevel.checkpoint()
                    nursery.cancel_scope.cancel()
                await kernel.snapshot()
                changed = window(kernel)[0] == 30_000
                assert changed == (list(kernel.health().targets) == [GPT])
                seen.add(changed)
        assert seen == {False, True}

    run(main)


def test_a_closed_kernel_takes_no_configuration() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            pass
        with pytest.raises(errors.KernelClosedError):
            await kernel.reload(config())

    run(main)
