"""What a new window takes over on a server: found by its account, however much there is of others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from redis_stores import Clock, opened
from valkey_process import Valkey

from penstock.policy.holds import Amount, Line
from penstock.policy.ledger_steps import Adopt, Change, Known, Reserve, Settle, WindowRow, WindowUse
from penstock.policy.window import Per, window_at
from penstock_plugins.ledgers import redis
from penstock_plugins.ledgers.redis import RedisLedger

NOW = 1_800_000_000.0
COUNTS = """
local looked = 0
local function counted(...)
  local reply = redis.call(...)
  if type(reply) == 'table' and not reply.ok then looked = looked + #reply else looked = looked + 1 end
  return reply
end
local function looking(each)
  return function(all)
    for _ in each(all) do looked = looked + 1 end
    return each(all)
  end
end
local function
"""
"""What every call of the server answers, and what every table has that is gone through: so much was looked at."""


def counting_book() -> str:
    """The book that says in a key of its own how many things its last batch has looked at."""
    book = redis.BOOK.replace("local function", COUNTS.strip(), 1).replace("return redis.call,", "return counted,")
    book = book.replace(
        "unpack, ipairs, next, pairs, tonumber", "unpack, looking(ipairs), next, looking(pairs), tonumber"
    )
    book = book.replace("  begin(keys)\n", "  begin(keys)\n  looked = 0\n", 1)
    return book.replace(
        "  write_all()\n  if sweeps", "  redis.call('SET', K[1] .. ':looked', looked)\n  write_all()\n  if sweeps"
    )


def looked_at_in(valkey: Valkey, namespace: str) -> int:
    return number_in(valkey, "tonumber(redis.call('GET', KEYS[1]))", f"{{penstock:{namespace}}}:windows:looked")


def day(account: str, zone: str = "UTC") -> WindowUse:
    end = window_at(Per.DAY, NOW, zone).end
    return WindowUse(f"day:{zone}:{account}", end, rolling=False, limit_tokens=10**12)


def reserve(hold_id: str, account: str, tokens: int = 10, *, counts_in: Sequence[str] = ()) -> Reserve:
    windows = tuple([day(one) for one in counts_in or (account,)])
    line = Line(tokens, 0, 0, 0)
    return Reserve(
        hold_id=hold_id, account=account, windows=windows, lines=(line,), min_output=0, max_output=0, lease=600.0
    )


def settle(hold_id: str, account: str, tokens: int) -> Settle:
    return Settle(hold_id=hold_id, charged=Amount(tokens), windows=(day(account),), account=account)


async def window(store: RedisLedger, use: WindowUse) -> tuple[int, int]:
    """Tokens held and spent."""
    rows: Sequence[WindowRow] = await store.windows((use.key,))
    return (rows[0].held.tokens, rows[0].spent.tokens) if rows else (0, 0)


def number_in(valkey: Valkey, script: str, key: str) -> int:
    return int(valkey.say("EVAL", f"return {script}", "1", key).removeprefix(":"))


def names_of(valkey: Valkey, namespace: str) -> int:
    """How many holds are found by their accounts."""
    return number_in(valkey, "redis.call('ZCARD', KEYS[1])", f"{{penstock:{namespace}}}:held")


@pytest.mark.slow
def test_adopting_looks_at_as_much_however_many_accounts_and_holds_there_are(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "BOOK", counting_book())

    async def looked_at(accounts: int) -> int:
        namespace, clock = f"adopting-{accounts}", Clock(NOW)
        async with opened(valkey.url, namespace, clock=clock) as store:
            for at in range(0, accounts, 500):
                some = [f"u/{number}" for number in range(at, min(at + 500, accounts))]
                await store.commit([reserve(f"first-{one}", one) for one in some])
                await store.commit([settle(f"first-{one}", one, 7) for one in some])
                await store.commit([reserve(f"second-{one}", one) for one in some])
            tokyo = day("u/3", "Asia/Tokyo")
            assert (await store.commit((Adopt("u/3", tokyo),))).answers == (Known(),)
            looked = looked_at_in(valkey, namespace)
            assert await window(store, tokyo) == (10, 7)
            return looked

    async def main() -> None:
        few, many = await looked_at(5), await looked_at(1_500)
        assert few == many < 40

    trio.run(main)


def test_each_of_many_adoptions_in_a_batch_looks_at_as_much_as_one_of_few(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at a first start: windows and holds that are begun in the very batch are found by their accounts, too."""
    monkeypatch.setattr(redis, "BOOK", counting_book())

    async def looked_at(accounts: int) -> float:
        namespace = f"together-{accounts}"
        async with opened(valkey.url, namespace, clock=Clock(NOW)) as store:
            names = [f"u/{number}" for number in range(accounts)]
            await store.commit(
                [
                    *[Adopt(one, day(one)) for one in names],
                    *[reserve(f"first-{one}", one) for one in names],
                    *[Adopt(one, day(one, "Asia/Tokyo")) for one in names],
                ]
            )
            looked = looked_at_in(valkey, namespace)
            assert await window(store, day("u/3", "Asia/Tokyo")) == (10, 0)
            return looked / accounts

    async def main() -> None:
        few, many = await looked_at(10), await looked_at(200)
        assert many < 1.2 * few < 50

    trio.run(main)


def test_a_window_that_is_begun_in_the_very_batch_is_found_by_the_next_one_of_its_kin(valkey: Valkey) -> None:
    async def main() -> None:
        async with opened(valkey.url, "kin", clock=Clock(NOW)) as store:
            tokyo = day("team", "Asia/Tokyo")
            await store.commit((reserve("a", "team"), settle("a", "team", 7), Adopt("team", tokyo)))
            assert await window(store, tokyo) == await window(store, day("team")) == (0, 7)

    trio.run(main)


def test_holds_of_accounts_below_are_adopted_and_those_beside_are_not(valkey: Valkey) -> None:
    """Names that begin alike, and such as end where others go on."""

    async def main() -> None:
        async with opened(valkey.url, "below", clock=Clock(NOW)) as store:
            accounts = [
                "team",
                "team/a",
                "team/a/b",
                "teams",
                "team-a",
                "team\0x",
                "tea",
                "été",
                "été/a",
                "étés",
                "",
            ]
            for number, account in enumerate(accounts):
                await store.commit((reserve(f"{number}\0#", account, 10**number, counts_in=("other",)),))
            for account, held in (("team", 111), ("team/a", 110), ("été", 110_000_000), ("team\0x", 100_000)):
                await store.commit((Adopt(account, day(account)),))
                assert await window(store, day(account)) == (held, 0), account
            await store.commit((Adopt("", day("")),))
            assert await window(store, day("")) == (11_111_111_111, 0)

    trio.run(main)


def test_what_is_begun_in_the_very_batch_is_adopted_and_what_is_over_in_it_is_not(valkey: Valkey) -> None:
    async def main() -> None:
        async with opened(valkey.url, "batch", clock=Clock(NOW)) as store:
            await store.commit((reserve("before", "team", 1), reserve("over", "team", 10)))
            steps = (
                reserve("new", "team", 100),
                reserve("brief", "team", 1_000),
                settle("over", "team", 20),
                settle("brief", "team", 2_000),
                Adopt("team", day("team", "Asia/Tokyo")),
            )
            await store.commit(steps)
            assert await window(store, day("team", "Asia/Tokyo")) == await window(store, day("team")) == (101, 2_020)
            assert names_of(valkey, "batch") == 2

    trio.run(main)


def test_a_hold_is_found_by_its_account_for_as_long_as_it_is_one(valkey: Valkey) -> None:
    async def main() -> None:
        clock = Clock(NOW)
        async with opened(valkey.url, "names", clock=clock) as store:
            await store.commit([reserve(name, f"u/{name}") for name in "abc"])
            assert names_of(valkey, "names") == 3
            await store.commit((settle("a", "u/a", 5),))
            assert names_of(valkey, "names") == 2
            await clock.elapse(700)
            await store.commit(())
            assert names_of(valkey, "names") == 2, "a lease that ended counts until its window is over"
            await clock.elapse(57_600)
            await store.commit(())
            assert names_of(valkey, "names") == 0

    trio.run(main)


@pytest.mark.slow
def test_books_of_the_former_version_are_found_by_their_accounts_from_the_first_batch_on(valkey: Valkey) -> None:
    async def main() -> None:
        space = "{penstock:before}"
        async with opened(valkey.url, "before", clock=Clock(NOW)) as store:
            await store.commit((reserve("a", "team", 1), reserve("b", "team", 10), reserve("c", "team/x", 100)))
            await store.commit((settle("a", "team", 7),))
            script = (
                "for _, key in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do local page = redis.call('HGET', KEYS[1],"
                " key); redis.call('HSET', KEYS[1], key, page:sub(1, 24) .. page:sub(65)) end;"
                "local kept = redis.call('HGET', KEYS[1], '');"
                " redis.call('HSET', KEYS[1], '', struct.pack('<d', 3) .. kept:sub(9));"
                " redis.call('HDEL', KEYS[1], '~'); return redis.call('DEL', KEYS[2])"
            )
            assert valkey.say("EVAL", script, "3", f"{space}:windows", f"{space}:held", f"{space}:ends") == ":1"
            tokyo, utc = day("team", "Asia/Tokyo"), day("team/x", "Europe/Berlin")
            await store.commit((Adopt("team", tokyo), settle("b", "team", 20)))
            assert await window(store, tokyo) == (100, 27)
            assert names_of(valkey, "before") == 1
            await store.commit((Adopt("team/x", utc),))
            assert await window(store, utc) == (100, 0)

    trio.run(main)


FORMER = """
for _, key in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local page = redis.call('HGET', KEYS[1], key)
  redis.call('HSET', KEYS[1], key, page:sub(1, 24) .. page:sub(65))
end
return redis.call('HSET', KEYS[1], '', struct.pack('<d', 4) .. redis.call('HGET', KEYS[1], ''):sub(9))
"""
"""The books as the version before this one kept them."""


def test_windows_of_books_of_the_former_version_have_counted_until_the_last_batch(valkey: Valkey) -> None:
    async def main() -> None:
        space, clock = "{penstock:layout}", Clock(NOW)  # 2027-01-15 08:00 UTC
        async with opened(valkey.url, "layout", clock=clock) as store:
            berlin, new_york = day("team", "Europe/Berlin"), day("team", "America/New_York")
            await store.commit((reserve("a", "team"), settle("a", "team", 300)))
            await store.commit((Settle(hold_id="b", charged=Amount(20), windows=(berlin,), account="team"),))
            await store.commit((Change(account="team", window=day("team"), limit_tokens=900),))
            assert valkey.say("EVAL", FORMER, "2", f"{space}:windows", f"{space}:ends") == ":0"
            assert (await store.windows((day("team").key,)))[0].limit_tokens == 900
            assert await window(store, day("team")) == (0, 300)
            await store.commit((Adopt("team", berlin), Adopt("team", new_york)))
            assert await window(store, berlin) == (0, 20), "side by side"
            assert await window(store, new_york) == (0, 300)
            await clock.elapse(7.5 * 3_600)
            tokyo = WindowUse("day:Asia/Tokyo:team", window_at(Per.DAY, clock.now, "Asia/Tokyo").end, rolling=False)
            await store.commit((Adopt("team", tokyo),))
            assert await window(store, tokyo) == (0, 0)
            assert (await store.windows((day("team").key,)))[0].limit_tokens == 900

    trio.run(main)
