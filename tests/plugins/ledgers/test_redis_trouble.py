"""What a ledger on Redis says and does when its server is down, slow, full, a replica, another one, or no ledger."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio
from redis_stores import Clock, opened, patiently
from valkey_process import Valkey, free_port, running

from penstock.errors import ConfigError, LedgerUnavailableError
from penstock.policy.holds import Amount, Line
from penstock.policy.ledger_steps import Change, ClockSetBack, Held, Known, Reserve, Settle, Spent, Stale, WindowUse
from penstock_plugins.ledgers.redis import KEYS, RedisLedger

WINDOW = WindowUse("day:UTC:team", 9e9, rolling=False, limit_tokens=100)
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


def reserve(hold_id: str, tokens: int = 10) -> Reserve:
    return Reserve(
        hold_id=hold_id,
        account="team",
        windows=(WINDOW,),
        lines=(Line(tokens, 0, 0, 0),),
        min_output=0,
        max_output=0,
        lease=600.0,
    )


async def held(store: RedisLedger) -> int:
    """Tokens."""
    rows = await store.windows((WINDOW.key,))
    return rows[0].held.tokens if rows else 0


async def unavailable(store: RedisLedger, within: float = 10.0) -> str:
    """What it says; a commit fails, and in time."""
    with trio.fail_after(within), pytest.raises(LedgerUnavailableError) as caught:
        await store.commit((reserve("unavailable"),))
    return str(caught.value)


def test_a_server_that_is_down_at_the_start_is_found_when_it_comes(tmp_path: Path) -> None:
    server = Valkey(tmp_path)

    async def main() -> None:
        async with opened(server.url, "down") as store:
            for _ in range(3):
                said = await unavailable(store)
                assert f"127.0.0.1:{server.port}" in said
                assert "check that it runs and that url leads to it" in said
            await trio.to_thread.run_sync(server.start)
            assert await held(store) == 0
            assert (await store.commit((reserve("a"),))).answers == (Held(0, Amount(10)),)

    try:
        trio.run(main)
    finally:
        server.kill()


def test_a_server_that_was_killed_is_found_again_with_all_that_it_kept(tmp_path: Path) -> None:
    async def main(server: Valkey) -> None:
        async with opened(server.url, "killed") as store:
            for number in range(4):
                await store.commit((reserve(f"h{number}"),))
                server.kill()
                assert "cannot be used" in await unavailable(store)
                await trio.to_thread.run_sync(server.start)
                assert await held(store) == 10 * (number + 1)
            assert clients(server) == 1, "connections are left behind"

    with running(tmp_path, *DURABLE) as server:
        trio.run(main, server)


def test_a_server_that_hangs_costs_the_timeout_and_no_more(tmp_path: Path) -> None:
    async def main(server: Valkey) -> None:
        async with opened(server.url, "hangs", timeout=0.3) as store:
            await store.commit((reserve("a"),))
            server.freeze()
            for _ in range(3):
                began = trio.current_time()
                assert "did not answer within 0.3 s" in await unavailable(store)
                assert trio.current_time() - began < 3
            server.thaw()
            # What was sent before is carried out or not; sent again, it is held once.
            with trio.fail_after(20):
                answers = await patiently(lambda: store.commit((reserve("unavailable"), reserve("b"))))
                assert answers.answers == (Held(0, Amount(10)),) * 2
                assert await held(store) == 30

    with running(tmp_path) as server:
        trio.run(main, server)


def test_a_server_that_hangs_leaves_no_connection_behind(valkey: Valkey) -> None:
    """What was given up is over for the server too, and the next question goes another way."""

    async def main() -> None:
        async with opened(valkey.url, "left", timeout=0.2) as store:
            await store.commit((reserve("a"),))
            before = clients(valkey)
            # Only what writes waits: the server itself still tells who is there.
            valkey.say("CLIENT", "PAUSE", "600", "WRITE")
            await unavailable(store)
            await until(lambda: clients(valkey) < before)
            with trio.fail_after(20):
                await patiently(store.holds)

    trio.run(main)


def test_a_paused_server_is_used_again_once_it_goes_on(valkey: Valkey) -> None:
    async def main() -> None:
        async with opened(valkey.url, "paused", timeout=0.2) as store:
            await store.commit((reserve("a"),))
            valkey.say("CLIENT", "PAUSE", "900", "WRITE")
            assert "did not answer" in await unavailable(store)
            with trio.fail_after(20):
                await patiently(lambda: store.commit((reserve("b"),)))

    trio.run(main)


def test_a_full_memory_keeps_all_or_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    async def main(server: Valkey) -> None:
        async with opened(server.url, "full") as store:
            await store.commit((reserve("a"),))
            server.say("CONFIG", "SET", "maxmemory", "1")
            said = await unavailable(store)
            assert "memory is full" in said
            assert "noeviction" in said
            server.say("CONFIG", "SET", "maxmemory", "0")
            assert await held(store) == 10

    with running(tmp_path, "--maxmemory-policy", "noeviction") as server:
        trio.run(main, server)


def test_a_replica_is_told_from_a_primary_and_used_once_it_is_one(tmp_path: Path) -> None:
    async def main(server: Valkey) -> None:
        async with opened(server.url, "replica") as store:
            await store.commit((reserve("a"),))
            server.say("CONFIG", "SET", "replica-serve-stale-data", "yes")
            server.say("REPLICAOF", "127.0.0.1", str(free_port()))
            assert "replica" in await unavailable(store)
            server.say("REPLICAOF", "NO", "ONE")
            assert await held(store) == 10

    with running(tmp_path) as server:
        trio.run(main, server)


def test_a_replica_is_left_for_whoever_has_its_name(tmp_path: Path, valkey: Valkey) -> None:
    """A name may lead to another server by then; the one that became a replica stays as alive as it was."""
    url = tmp_path / "url"

    async def main(old: Valkey) -> None:
        url.write_text(old.url)
        async with opened(f"file:{url}", "renamed") as store:
            await store.commit(())
            old.say("REPLICAOF", "127.0.0.1", str(free_port()))
            url.write_text(valkey.url)
            assert "replica" in await unavailable(store)
            # Another server with other books: whoever knew those of before is not to begin anew in silence.
            assert "books on the server are gone" in await unavailable(store)
        async with opened(f"file:{url}", "renamed") as store:
            await store.commit(())

    with running(tmp_path) as old:
        trio.run(main, old)


@pytest.mark.parametrize("how", ["FLUSHALL", "restart", "another app begins anew"])
def test_books_that_are_lost_are_not_begun_anew_in_silence(tmp_path: Path, how: str) -> None:
    async def main(server: Valkey) -> None:
        async with opened(server.url, "lost") as store:
            await store.commit((reserve("a"),))
            if how == "FLUSHALL":
                server.say("FLUSHALL")
            else:
                server.kill()
                await trio.to_thread.run_sync(server.start)
            if how == "another app begins anew":
                async with opened(server.url, "lost") as other:
                    await other.commit((reserve("b"),))
            with trio.fail_after(20):
                while "gone" not in (said := await unavailable(store)):
                    assert "cannot be used" in said, said
            assert "gone" in await unavailable(store)
        async with opened(server.url, "lost") as store:
            await store.commit(())

    with running(tmp_path) as server:
        trio.run(main, server)


@pytest.mark.parametrize("overtaken", [False, True])
def test_a_server_that_comes_back_with_older_books_is_refused_by_whoever_knew_the_later_ones(
    tmp_path: Path, *, overtaken: bool
) -> None:
    async def main(server: Valkey) -> None:
        async with opened(server.url, "older") as idle, opened(server.url, "older") as busy:
            await idle.commit((reserve("a"),))
            server.say("SAVE")
            shutil.copyfile(tmp_path / "dump.rdb", tmp_path / "older")
            for number in range(3):
                await busy.commit((reserve(f"b{number}"),))
            server.say("SAVE")
            shutil.copyfile(tmp_path / "dump.rdb", tmp_path / "newer")

            await come_back(server, "older")
            if overtaken:
                for number in range(5):
                    assert (await idle.commit((reserve(f"c{number}"),))).answers == (Held(0, Amount(10)),)
            for _ in range(2):
                said = await unavailable(busy)
                assert "older than this process knew them (3 batches are missing)" in said
            # Of whoever has seen nothing of what is missing, nothing is missing.
            assert await held(idle) == (60 if overtaken else 10)
            async with opened(server.url, "older") as new:
                assert await held(new) == (60 if overtaken else 10)

            await come_back(server, "newer")
            assert await held(busy) == 40
            if overtaken:
                assert "older than this process knew them" in await unavailable(idle)

    async def come_back(server: Valkey, dump: str) -> None:
        server.kill()
        shutil.copyfile(tmp_path / dump, tmp_path / "dump.rdb")
        await trio.to_thread.run_sync(server.start)

    with running(tmp_path, "--appendonly", "no") as server:
        trio.run(main, server)


def test_a_replica_that_lagged_behind_is_refused_by_whoever_knew_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    url = tmp_path / "url"

    async def main(first: Valkey, second: Valkey) -> None:
        url.write_text(first.url)
        async with opened(f"file:{url}", "lagged") as store, opened(f"file:{url}", "lagged") as other:
            await store.commit((reserve("a"),))
            await other.commit(())
            first.say("WAIT", "1", "5000")
            await until(lambda: second.say("ZCARD", "{penstock:lagged}:due") == ":1")
            second.say("REPLICAOF", "NO", "ONE")
            await store.commit((reserve("b"),))
            first.kill()
            url.write_text(second.url)
            for number in range(3):
                await patiently(partial(other.commit, (reserve(f"c{number}"),)))
            while "older than this process knew them (1 batches are missing)" not in (said := await unavailable(store)):
                assert "cannot be used" in said, said

    with running(tmp_path / "first", "--repl-diskless-sync-delay", "0") as first:
        with running(tmp_path / "second", "--replicaof", f"127.0.0.1 {first.port}") as second:
            trio.run(main, first, second)


def test_a_server_that_takes_over_on_the_same_connection_is_looked_at_again(valkey: Valkey) -> None:
    """A replica that became a primary, at whose connections nothing happened: others have told the books."""

    async def main() -> None:
        async with opened(valkey.url, "same", check_every=1e9) as store:
            await store.commit((reserve("a"),))
            valkey.say("REPLICAOF", "127.0.0.1", str(free_port()))
            valkey.say("REPLICAOF", "NO", "ONE")
            async with opened(valkey.url, "same") as other:
                await other.commit((reserve("b"),))
                assert (await store.commit((reserve("c"),))).answers == (Held(0, Amount(10)),)
                assert await held(store) == 30
                assert await held(other) == 30

    trio.run(main)


def test_books_of_the_former_version_are_gone_on_with(valkey: Valkey) -> None:
    async def main() -> None:
        async with opened(valkey.url, "former", clock=Clock(2e9)) as store:
            await store.commit((reserve("a"),))
            script = "return redis.call('HSET', KEYS[1], '', struct.pack('<ddddd', 2, 2e9, 600, 0, 1e9))"
            valkey.say("EVAL", script, "1", "{penstock:former}:windows")
        async with opened(valkey.url, "former", clock=Clock(2e9)) as store:
            assert await held(store) == 10
            await store.commit((reserve("b"),))
            assert await held(store) == 20

    trio.run(main)


def test_a_server_that_gives_up_keys_for_room_is_no_place_for_a_ledger(tmp_path: Path) -> None:
    async def main(server: Valkey) -> None:
        async with opened(server.url, "evicted") as store:
            assert "maxmemory-policy noeviction" in await unavailable(store)
            server.say("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
            await store.commit(())

    with running(tmp_path, "--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru") as server:
        trio.run(main, server)


def test_a_server_that_is_told_to_give_up_keys_for_room_is_noticed_while_it_is_in_use(valkey: Valkey) -> None:
    async def main() -> None:
        async with opened(valkey.url, "evicted-later", check_every=0.0) as store:
            await store.commit((reserve("a"),))
            valkey.say("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
            try:
                assert "maxmemory-policy noeviction" in await unavailable(store)
                assert "maxmemory-policy noeviction" in await unavailable(store)
            finally:
                valkey.say("CONFIG", "SET", "maxmemory-policy", "noeviction")
            await store.commit(())

    trio.run(main)


def test_a_server_that_comes_back_giving_up_keys_for_room_is_noticed_at_once(tmp_path: Path) -> None:
    async def main(server: Valkey) -> None:
        async with opened(server.url, "evicted", check_every=1e9) as store:
            await store.commit((reserve("a"),))
            server.kill()
            server.options = (*server.options, "--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")
            await trio.to_thread.run_sync(server.start)
            with trio.fail_after(20):
                while "maxmemory-policy noeviction" not in (said := await unavailable(store)):
                    assert "cannot be used" in said, said

    with running(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as server:
        trio.run(main, server)


def test_connections_that_break_are_told_in_a_line_wherever_an_app_listens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(server: Valkey) -> None:
        async with opened(server.url, "quiet") as store:
            await store.commit(())
            server.kill()
            assert "cannot be used" in await unavailable(store)

    with caplog.at_level(logging.DEBUG):
        with running(tmp_path) as server:
            trio.run(main, server)
        assert not [record for record in caplog.records if record.name == "coredis"]
        # What an app does with coredis is its own.
        logging.getLogger("coredis").info("theirs")
    assert [record.getMessage() for record in caplog.records if record.name == "coredis"] == ["theirs"]


def test_a_failover_keeps_what_the_replica_had(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    url = tmp_path / "url"

    async def main(first: Valkey, second: Valkey) -> None:
        url.write_text(first.url)
        async with opened(f"file:{url}", "failover") as store:
            await store.commit((reserve("a"), reserve("b")))
            first.say("WAIT", "1", "5000")
            await until(lambda: second.say("ZCARD", "{penstock:failover}:due") == ":2")
            first.kill()
            assert "cannot be used" in await unavailable(store)
            second.say("REPLICAOF", "NO", "ONE")
            url.write_text(second.url)
            landed = await store.commit((reserve("a"), Settle(hold_id="b", charged=Amount(3))))
            assert landed.answers[0] == Held(0, Amount(10))
            assert await held(store) == 10

    with running(tmp_path / "first", "--repl-diskless-sync-delay", "0") as first:
        with running(tmp_path / "second", "--replicaof", f"127.0.0.1 {first.port}") as second:
            trio.run(main, first, second)


def test_a_server_that_forgot_the_function_is_sent_it_again(valkey: Valkey) -> None:
    async def main() -> None:
        async with opened(valkey.url, "flushed") as store:
            for number in range(3):
                valkey.say("FUNCTION", "FLUSH")
                await store.commit((reserve(f"h{number}"),))
            assert await held(store) == 30

    trio.run(main)


@pytest.mark.parametrize("name", KEYS)
def test_a_key_of_a_wrong_type_changes_nothing(name: str, valkey: Valkey) -> None:
    async def main() -> None:
        namespace = f"wrong-{name}"
        async with opened(valkey.url, namespace) as store:
            for other in KEYS:
                if other != name:
                    valkey.say("DEL", f"{{penstock:{namespace}}}:{other}")
            valkey.say("SET", f"{{penstock:{namespace}}}:{name}", "something else")
            with pytest.raises(LedgerUnavailableError, match="choose another namespace"):
                # All that a batch can write: a hold, a charge with its journal, and a change with its history.
                await store.commit(
                    (
                        reserve("a"),
                        Settle(hold_id="a", charged=Amount(1), spent=(Spent(target="t"),)),
                        reserve("b"),
                        Change(account="team", window=WINDOW, limit_tokens=5),
                    )
                )
            assert valkey.say("EVAL", "return #redis.call('KEYS', ARGV[1])", "0", f"?penstock:{namespace}*") == ":1"

    trio.run(main)


def test_content_of_another_version_is_left_alone(valkey: Valkey) -> None:
    async def main() -> None:
        async with opened(valkey.url, "version") as store:
            await store.commit((reserve("a"),))
            script = "return redis.call('HSET', KEYS[1], '', struct.pack('<dddd', 1, 0, 60, 0))"
            valkey.say("EVAL", script, "1", "{penstock:version}:windows")
            with pytest.raises(ConfigError, match="of version 1, and this penstock keeps version 4"):
                await store.commit(())

    trio.run(main)


@pytest.mark.slow
def test_a_cluster_is_followed_to_the_node_that_has_the_ledger(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()

    def node() -> tuple[str, ...]:
        return "--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--cluster-node-timeout", "2000"

    async def main(empty: Valkey, full: Valkey) -> None:
        full.say("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        empty.say("CLUSTER", "MEET", "127.0.0.1", str(full.port), full.options[3])
        await until(lambda: empty.say("GET", "x").startswith("-MOVED"))
        await until(lambda: full.say("GET", "x") == "$-1")
        async with opened(empty.url, "cluster") as store:
            await store.commit((reserve("a"),))
            await store.commit((reserve("b"),))
            assert await held(store) == 20
            assert full.say("ZCARD", "{penstock:cluster}:due") == ":2"
            # The node that has it is restarted: the way to it is asked for again.
            full.kill()
            await unavailable(store)
            await trio.to_thread.run_sync(full.start)
            await patiently(store.holds)

    with running(tmp_path / "empty", *node()) as empty, running(tmp_path / "full", *node(), *DURABLE) as full:
        trio.run(main, empty, full)


def clients(server: Valkey) -> int:
    """Connections, without the one that asks."""
    return int(server.info("connected_clients")) - 1


async def until(true: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not true():  # noqa: ASYNC110 - another process
            await trio.sleep(0.02)


def test_known_is_answered_after_trouble_too(valkey: Valkey) -> None:
    async def main() -> None:
        async with opened(valkey.url, "known") as store:
            await store.commit((reserve("a"), Settle(hold_id="a", charged=Amount(1))))
            assert (await store.commit((reserve("a"),))).answers == (Known(),)

    trio.run(main)


def test_what_is_settled_is_no_hold_and_is_forgotten_once_its_lease_is_over(valkey: Valkey) -> None:
    def kept() -> tuple[str, str]:
        field = valkey.say("HEXISTS", "{penstock:forgotten}:windows", "#a")
        return field, valkey.say("ZCARD", "{penstock:forgotten}:due")

    async def main() -> None:
        clock = Clock()
        async with opened(valkey.url, "forgotten", clock=clock) as store:
            await store.commit((reserve("a"), Settle(hold_id="a", charged=Amount(1))))
            assert await store.holds() == []
            clock.now += 599
            assert (await store.commit((reserve("a"),))).answers == (Known(),)
            assert kept() == (":1", ":1")
            clock.now += 2
            await store.commit(())
            assert kept() == (":0", ":0")

    trio.run(main)


def test_a_clock_that_ran_far_ahead_is_set_back_by_hand_and_nothing_spent_since_is_forgotten(valkey: Valkey) -> None:
    day, years = 86_400.0, 3_650 * 86_400.0
    noon, midnight = 1_777_896_000.0, 1_777_896_000.0 + day / 2

    def use(end: float) -> WindowUse:
        return WindowUse("day:UTC:team", end, rolling=False, limit_tokens=100)

    def in_day(hold_id: str, tokens: int, end: float = midnight) -> Reserve:
        return msgspec.structs.replace(reserve(hold_id, tokens), windows=(use(end),))

    async def main() -> None:
        clock = Clock(noon + years)
        async with opened(valkey.url, "ahead", clock=clock) as running:
            await running.commit((in_day("a", 30, midnight + years), Settle(hold_id="a", charged=Amount(20))))
            await running.commit((in_day("held", 10, midnight + years),))
            limit = Change(account="team", window=use(midnight + years), limit_tokens=50)
            await running.commit((limit,))
            clock.now = noon
            assert (await running.commit((in_day("b", 1),))).answers == (Stale(),)
            async with opened(valkey.url, "ahead", clock=clock) as mending:
                assert await mending.set_clock_back("it was 2036") == ClockSetBack(noon + years, noon)
                assert (await mending.commit(())).now == noon
                (row,) = await mending.windows()
                assert (row.held, row.spent, row.estimated) == (Amount(0), Amount(30), Amount(10))
                assert (row.ends_at, row.limit_tokens) == (midnight, 50)
                assert await mending.holds() == []
                late = Settle(hold_id="held", charged=Amount(5), windows=(use(midnight),))
                assert (await mending.commit((late,))).answers == (Known(),)
                assert (await mending.commit((in_day("c", 20),))).answers == (Held(0, Amount(20)),)
                assert await mending.set_clock_back("") == ClockSetBack(noon, noon)
                *_, told = await mending.history(since=noon, until=noon + 1)
                assert (told.action, told.reason) == ("clock", "it was 2036")
                assert (told.before, told.after) == ("2036-05-01 12:00:00 UTC", "2026-05-04 12:00:00 UTC")
                clock.now = midnight + 1
                assert await held(mending) == 0
            with pytest.raises(LedgerUnavailableError, match="its clock was set back"):
                await running.commit(())

    trio.run(main)
