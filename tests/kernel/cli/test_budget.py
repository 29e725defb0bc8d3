"""`penstock budget` beside a running app, on one ledger in a file: real processes, a real file, the real clock."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import re
import sqlite3
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import httpx
import msgspec
import pytest
import trio
from commands import KEY, Ended, run_command, run_in_terminal
from ledgering import sqlite_ledger
from valkey_process import running as valkey_running
from worlds import GPT, good, openai_body

import penstock
from penstock import errors
from penstock.abc import LedgerStore
from penstock.cli._budget.opening import with_ledger
from penstock.cli._program import run
from penstock.policy.account_windows import AccountWindows
from penstock.policy.holds import Line
from penstock.policy.ledger_steps import Reserve
from penstock.testing import Reply, ScriptedTransport

pytestmark = pytest.mark.slow

PROMPT = "canary of the prompt"
SLOW = f"{PROMPT}, slowly"
BILL = {
    "prompt_tokens": 1_200,
    "completion_tokens": 300,
    "total_tokens": 1_500,
    "prompt_tokens_details": {"cached_tokens": 1_000},
    "completion_tokens_details": {"reasoning_tokens": 200},
}
COST = 0.00475  # 200 x 2.50, 1,000 x 1.25 and 300 x 10 USD a million
NO_UTF8 = r"'caf\udce9' is not valid UTF-8, so no store can write it down"
SETTINGS = f"""
[providers.openai]
api_key = "{KEY}"
[routes.default]
cascade = ["{GPT}"]
[budget]
limits = [{{ per = "day", usd = 20 }}, {{ per = "month", tokens = 40_000_000, timezone = "Europe/Berlin" }}]
[accounts.team]
limits = [{{ per = "hour", tokens = 30_000, rolling = true }}]
[accounts."team/*"]
limits = [{{ per = "day", usd = 0.05 }}]
[accounts.root]
[ledger]
path = "ledger.db"
"""


@pytest.fixture
def settings(tmp_path: Path) -> str:
    path = tmp_path / "penstock.toml"
    path.write_text(SETTINGS)
    return str(path)


class App:
    """A program that spends, and the command beside it."""

    def __init__(self, settings: str, nursery: trio.Nursery) -> None:
        self._settings = settings
        self._nursery = nursery
        self._slow_one_arrived = trio.Event()
        self.transport = ScriptedTransport(self._answer)
        self.kernel: penstock.Kernel

    def _answer(self, request: httpx.Request) -> Reply:
        if SLOW.encode() in request.content:
            self._slow_one_arrived.set()
            return Reply(json={**openai_body(), "usage": BILL}, delay=600)
        if msgspec.json.decode(request.content).get("stream"):
            return good(request, pause=0.2)
        return Reply(json={**openai_body(), "usage": BILL})

    async def call(self, account: str = "team/search", prompt: str = PROMPT) -> penstock.ChatResponse:
        return await self.kernel.complete(prompt, account=account, max_tokens=1_500)

    async def hold(self, account: str = "team/search") -> None:
        """A call that is in flight until the app ends."""
        self._nursery.start_soon(self.call, account, SLOW)
        await self._slow_one_arrived.wait()

    async def budget(self, *arguments: str) -> Ended:
        command = ("budget", *arguments, "-c", self._settings)
        ended = await trio.to_thread.run_sync(lambda: run_command(*command))
        assert KEY not in ended.out + ended.err
        assert PROMPT not in ended.out + ended.err
        return ended

    async def told(self, *arguments: str) -> Any:
        ended = await self.budget(*arguments)
        assert (ended.code, ended.err) == (0, "")
        return json.loads(ended.out)

    async def window(self, account: str, per: str) -> dict[str, Any]:
        shown = await self.told("show", "--json")
        (found,) = [line for line in shown["windows"] if (line["account"], line["per"]) == (account, per)]
        line: dict[str, Any] = found
        return line


@asynccontextmanager
async def app(settings: str) -> AsyncGenerator[App]:
    async with trio.open_nursery() as nursery:
        running = App(settings, nursery)
        async with penstock.open_kernel(settings, transport=running.transport) as kernel:
            running.kernel = kernel
            yield running
            nursery.cancel_scope.cancel()


def begin(settings: str) -> None:
    """As an app does that spends nothing: there are books, and nothing is in them."""
    with_ledger(penstock.Config.load(settings), lambda store: store.commit([]))


def lines_of(ended: Ended) -> list[str]:
    """What is printed, with single spaces."""
    return [" ".join(line.split()) for line in ended.out.splitlines()]


# show


def test_show_tells_what_the_running_app_knows(settings: str) -> None:
    async def main() -> None:
        async with app(settings) as running:
            await running.call()
            await running.call("other")
            await running.hold()
            told = await running.told("show", "--json")
            accounts = (await running.kernel.snapshot()).accounts
            shown = {(line["account"], line["per"]): line for line in told["windows"]}
            assert set(shown) == {("", "day"), ("", "month"), ("team", "hour"), ("team/search", "day")}
            for (account, per), line in shown.items():
                (window,) = [window for window in accounts[account].windows if window.per == per]
                assert line["held_tokens"] == window.held.tokens > 1_500
                assert line["spent_tokens"] == window.spent.tokens
                assert line["spent_usd"] == pytest.approx(window.spent.nano_usd / 1e9)
                assert line["free_tokens"] == window.free_tokens
                assert line["ends_at"] == window.ends_at
                assert line["limit_by_hand"] is False
            assert shown["team/search", "day"]["spent_usd"] == COST
            assert shown["", "day"]["spent_usd"] == 2 * COST
            (hold,) = told["holds"]
            assert hold["account"] == "team/search"
            assert hold["held_tokens"] == shown["team", "hour"]["held_tokens"]
            assert hold["lapsed"] is False

    trio.run(main)


@pytest.mark.slow
def test_the_table_has_a_bar_for_each_limit_and_fits_80_columns(settings: str) -> None:
    async def main() -> None:
        async with app(settings) as running:
            await running.call()
            await running.hold()
            ended = await running.budget("show", "--holds")
            lines = lines_of(ended)
            assert lines[0] == "account used spent held limit free refills"
            assert lines[1].startswith("/ █▒░░░░░░░░ $0.004750 $0.0203 $20.00 $19.97 ")
            assert lines[2] == "day (UTC) <1 %"
            assert lines[4] == "month (Europe/Berlin) <1 %"
            assert re.fullmatch(r"team █▒░░░░░░░░ 1,500 3,\d+ 30,000 2\d,\d+ (59 min|1 h 0 min)", lines[5])
            assert lines[7].startswith("team/search █▒▒▒▒░░░░░ $0.004750 $0.0203 $0.0500 $0.02")
            assert "hold account USD tokens held for lease" in lines
            assert any(re.fullmatch(r"[0-9a-f]{16}-\d+ team/search \$0.0203 3,\d+ .*", line) for line in lines)

            code, drawn = await trio.to_thread.run_sync(in_terminal, settings, "show", "--holds")
            assert code == 0
            assert all(len(line) <= 80 for line in drawn.splitlines())
            assert "team/search" in drawn

            only = lines_of(await running.budget("show", "team"))
            assert [line.split()[0] for line in only[1:6:2]] == ["team", "team/search", "1"]
            assert only[-1] == "1 hold of calls in flight: --holds shows them."

    trio.run(main)


@pytest.mark.parametrize("columns", [75, 60, 50, 40])
def test_in_a_narrow_terminal_figures_give_way_and_accounts_can_be_read(settings: str, columns: int) -> None:
    async def main() -> None:
        async with app(settings) as running:
            await running.call()
            ended = await trio.to_thread.run_sync(
                lambda: run_command("budget", "show", "-c", settings, environ={"COLUMNS": str(columns)})
            )
            lines = ended.out.splitlines()
            assert all(len(line) <= columns for line in lines)
            assert any(re.match(r"team/search +\d+ % +\$0.004750", line) for line in lines), ended.out
            assert "░" not in ended.out

    trio.run(main)


def in_terminal(settings: str, *arguments: str, **more: Any) -> tuple[int, str]:
    return run_in_terminal("budget", *arguments, "-c", settings, environ={"TERM": "dumb"}, **more)


def test_where_the_terminal_has_no_blocks_the_bars_are_of_ascii(settings: str) -> None:
    environ = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}

    async def main() -> None:
        async with app(settings) as running:
            await running.call()
            ended = await trio.to_thread.run_sync(
                lambda: run_command("budget", "show", "-c", settings, environ=environ)
            )
            assert "#........." in ended.out
            assert ended.out.isascii()

    trio.run(main)


@pytest.mark.slow
def test_the_share_that_was_charged_without_a_bill_is_told(settings: str) -> None:
    async def main() -> None:
        async with app(settings) as running:
            await running.call()
            async with running.kernel.stream(PROMPT, account="team/search", max_tokens=1_500) as stream:
                await anext(stream)
            await running.kernel.snapshot()
            line = await running.window("team/search", "day")
            assert 0 < line["estimated_usd"] < line["spent_usd"]
            share = 100 * line["estimated_usd"] / line["spent_usd"]
            assert f"{share:.0f} % est." in (await running.budget("show")).out
            told = await running.told("report", "--format", "json")
            assert told["total"]["estimated_usd"] == line["estimated_usd"]
            assert told["total"]["estimated_share"] == pytest.approx(share / 100, abs=1e-3)

    trio.run(main)


@pytest.mark.slow
def test_an_account_without_a_limit_of_its_own_is_not_shown_and_an_empty_ledger_says_so(tmp_path: Path) -> None:
    path = tmp_path / "penstock.toml"
    path.write_text(SETTINGS.partition("[budget]")[0] + "[ledger]\n")
    begin(str(path))
    ended = run_command("budget", "show", "-c", str(path))
    assert ended.out == "There is nothing to show: no account has a limit, and nothing was spent.\n"
    assert json.loads(run_command("budget", "show", "--json", "-c", str(path)).out) == {"windows": [], "holds": []}
    assert run_command("budget", "history", "-c", str(path)).out == "Nothing was done by hand.\n"
    assert run_command("budget", "report", "-c", str(path)).out.startswith("Nothing was spent: ")


@pytest.mark.slow
def test_what_a_killed_process_held_is_charged_shown_and_reported_alike(settings: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with app(settings) as running:
            await running.call()
            await running.hold()
            dead = AccountWindows(penstock.Config.load(settings).budget.accounts).uses("team/search", time.time())
            lines = (Line(1_000, 2_000_000, 0, 0),)
            reserve = Reserve(
                hold_id="dead", account="team/search", windows=dead, lines=lines, min_output=0, max_output=0, lease=0.01
            )
            async with sqlite_ledger(tmp_path / "ledger.db", time.time) as store:
                await store.commit((reserve,))
            await trio.sleep(0.02)
            shown = " ".join((await running.budget("show")).out.split())
            assert "1 hold of calls in flight, and 1 hold charged in full, for the lease is over" in shown
            line = await running.window("", "day")
            assert (line["spent_tokens"], line["spent_usd"]) == (2_500, COST + 0.002)
            total = (await running.told("report", "--format", "json"))["total"]
            assert (total["input_tokens"] + total["output_tokens"], total["usd"]) == (2_500, line["spent_usd"])
            assert total["estimated_usd"] == line["estimated_usd"] == 0.002
            (unknown,) = [
                row
                for row in (await running.told("report", "--by", "target", "--format", "json"))["rows"]
                if not row["target"]
            ]
            assert unknown["usd"] == 0.002
        (told,) = json.loads(run_command("budget", "show", "--json", "-c", settings).out)["holds"]
        assert told["lapsed"] is True
        shown = " ".join(run_command("budget", "show", "-c", settings).out.split())
        assert "in flight" not in shown

    trio.run(main)


@pytest.mark.slow
def test_an_account_that_nobody_knows_is_told_with_the_one_that_was_meant(settings: str) -> None:
    async def main() -> None:
        async with app(settings) as running:
            await running.call()
            for more in ((), ("--json",)):
                ended = await running.budget("show", "taem/search", *more)
                assert (ended.code, ended.out) == (1, "")
                assert "there is no account taem/search" in ended.err
                assert "did you mean 'team/search'? valid: root, team, team/search" in ended.err
            assert (await running.budget("show", "root")).code == 0  # declared, and nothing to show
            assert "Did you mean 'team'?" in (await running.budget("set", "taem", "--usd", "5")).err

    trio.run(main)


def test_a_reason_cannot_forge_the_history(settings: str) -> None:
    reason = "fine\n2026-01-01 00:00:00 reset\x1b[2J\u202e/"
    assert run_command("budget", "set", "team/search", "--usd", "3", "--reason", reason, "-c", settings).code == 0
    shown = run_command("budget", "history", "-c", settings).out
    assert "\u202e" not in shown
    assert "\x1b" not in shown
    assert r"\x1b[2J\u202e" in "".join(shown.split())


# the clock


@pytest.mark.slow
def test_a_ledger_whose_clock_ran_ahead_is_shown_and_mended(settings: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with app(settings) as running:
            await running.call()
        ledger = sqlite3.connect(tmp_path / "ledger.db")
        ledger.execute("UPDATE ledger SET latest = latest + 3650 * 86400")
        ledger.execute('UPDATE buckets SET "end" = "end" + 3650 * 86400')
        ledger.commit()
        ledger.close()
        shown = await trio.to_thread.run_sync(lambda: run_command("budget", "clock", "-c", settings))
        assert re.match(r"The ledger's clock stands 36(49 d 23|50 d 0) h ahead of this machine's", shown.out)
        arguments = ("budget", "clock", "--set-back", "--reason", "it was 2036", "-c", settings)
        mended = await trio.to_thread.run_sync(lambda: run_command(*arguments))
        assert (mended.code, mended.err) == (0, "")
        assert re.fullmatch(r"\S+ \S+ UTC -> \S+ \S+ UTC\n", mended.out)
        async with app(settings) as running:
            assert "The ledger's clock is this machine's" in (await running.budget("clock")).out
            line = await running.window("team/search", "day")
            assert (line["spent_usd"], line["ends_at"] < time.time() + 86_401) == (COST, True)
            await running.call()
            assert "it was 2036" in (await running.budget("history")).out
            assert "nothing was changed" in (await running.budget("clock", "--set-back")).out

    trio.run(main)


# set and reset


@pytest.mark.slow
def test_a_limit_set_by_hand_holds_at_once_in_the_running_app_until_it_is_reset(settings: str) -> None:
    async def main() -> None:
        async with app(settings) as running:
            await running.call()
            ended = await running.budget("set", "team/search", "--usd", "0.02", "--reason", "the quarter's end")
            words = "0.00475 USD and 1500 tokens spent of"
            assert ended.out == f"team/search per day (UTC): {words} 0.05 USD -> {words} 0.02 USD\n"
            with pytest.raises(errors.BudgetExceededError, match=r"0\.02 USD per day"):
                await running.call()
            quote = await running.kernel.quote(PROMPT, account="team/search", max_tokens=1_500)
            assert [short.limit for short in quote.shortfalls] == ["0.02 USD per day (UTC)"]
            line = await running.window("team/search", "day")
            assert (line["limit_usd"], line["limit_by_hand"], line["free_usd"]) == (0.02, True, 0.01525)
            assert "by hand" in (await running.budget("show")).out

            await running.kernel.reload(penstock.Config.load(settings))
            with pytest.raises(errors.BudgetExceededError, match=r"0\.02 USD per day"):
                await running.call()  # a configuration does not undo what was done by hand

            ended = await running.budget("reset", "team/search")
            assert ended.out.endswith("-> 0 USD and 0 tokens spent of 0.05 USD\n")
            await running.call()
            line = await running.window("team/search", "day")
            assert (line["limit_usd"], line["limit_by_hand"], line["spent_usd"]) == (0.05, False, COST)
            assert (await running.window("", "day"))["spent_usd"] == 2 * COST  # those above keep what was spent

    trio.run(main)


@pytest.mark.slow
def test_what_is_spent_can_be_set_and_all_windows_reset(settings: str) -> None:
    async def main() -> None:
        async with app(settings) as running:
            await running.call()
            await running.budget("set", "/", "--per", "day", "--spent-usd", "19.99", "--spent-tokens", "7")
            line = await running.window("", "day")
            assert (line["spent_usd"], line["spent_tokens"], line["limit_by_hand"]) == (19.99, 7, False)
            with pytest.raises(errors.BudgetExceededError, match="20 USD per day"):
                await running.call("other")
            ended = await running.budget("reset", "/")
            assert len(ended.out.splitlines()) == 2
            assert (await running.window("", "day"))["spent_usd"] == 0
            await running.call("other")

    trio.run(main)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("set", "/", "--tokens", "5"), "has day (UTC), month (Europe/Berlin); say which"),
        (("set", "/", "--per", "hour", "--tokens", "5"), "has no such window; it has 20 USD per day (UTC), 40000000"),
        (("set", "/", "--per", "day", "--tokens", "5"), "has no limit in tokens per day (UTC)"),
        (("set", "team", "--usd", "5"), "team has no limit in USD per hour (rolling)"),
        (("set", "team", "--calendar", "--tokens", "5"), "has no such window"),
        (("set", "nobody", "--usd", "5"), "nobody has no limit over a window in the configuration"),
        (("set", "root", "--usd", "5"), "root has no limit over a window"),
        (("set", "team/*", "--usd", "5"), "team/* is a pattern for many accounts"),
        (("set", "team//a", "--usd", "5"), "'team//a' is not the path of an account"),
        (("set", "team/search"), "Say what to set"),
        (("set", "team/search", "--usd", "-1"), "is not an amount in USD"),
        (("set", "team/search", "--usd", "many"), "is not an amount in USD"),
        (("set", "team/search", "--usd", "0"), "a limit must be more than 0"),
        (("set", "team", "--tokens", "0"), "0 is not in the range x>=1"),
        (("reset", "nobody"), "nobody has no limit over a window"),
        (("reset", "/", "--per", "hour"), "has no such window"),
        (("release", "some-hold"), "Missing option '--reason'"),
        (("report", "--by", "hour"), "'hour' is none"),
        (("report", "--timezone", "Mars"), "'Mars' is not a time zone"),
        (("report", "--from", "2026-11-30", "--to", "2026-11-01"), "--to 2026-11-01 is before --from 2026-11-30"),
        (("report", "--from", "yesterday"), "'yesterday'"),
        (
            ("report", "--to", "9999-12-31"),
            "Invalid value for '--to': 9999-12-31 is too far: a ledger knows the days from",
        ),
        (("report", "--from", "9999-12-31"), "Invalid value for '--from': 9999-12-31 is too far"),
        (("report", "--from", "0001-01-01", "--timezone", "US/Alaska"), "0001-01-01 is too far"),
        (("history", "--to", "9999-12-31", "--timezone", "Asia/Tokyo"), "leave --to out for all"),
        (("show", "a//b"), "is not the path of an account"),
        (("show", "caf\udce9"), f"Invalid value for '[ACCOUNT]': {NO_UTF8}"),
        (("set", "team/search", "--usd", "1", "--reason", "caf\udce9"), f"Invalid value for '--reason': {NO_UTF8}"),
        (("set", "caf\udce9", "--usd", "1"), f"Invalid value for 'ACCOUNT': {NO_UTF8}"),
        (("set", "team/search", "--usd", "caf\udce9"), f"Invalid value for '--usd': {NO_UTF8}"),
        (("reset", "team/search", "--reason", "caf\udce9"), f"Invalid value for '--reason': {NO_UTF8}"),
        (("reset", "team/search", "--timezone", "caf\udce9"), f"Invalid value for '--timezone': {NO_UTF8}"),
        (("release", "caf\udce9", "--reason", "gone"), f"Invalid value for 'HOLD': {NO_UTF8}"),
        (("release", "hold", "--reason", "caf\udce9"), f"Invalid value for '--reason': {NO_UTF8}"),
        (("clock", "--set-back", "--reason", "caf\udce9"), f"Invalid value for '--reason': {NO_UTF8}"),
        (("report", "--by", "caf\udce9"), f"Invalid value for '--by': {NO_UTF8}"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_done(
    settings: str, arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(settings)
    assert run(["budget", *arguments, "-c", settings]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert says in " ".join(told.err.split())
    assert run(["budget", "history", "-c", settings]) == 0
    assert capsys.readouterr().out == "Nothing was done by hand.\n"


@pytest.mark.slow
def test_on_a_terminal_it_asks_first_and_no_or_ctrl_c_changes_nothing(settings: str) -> None:
    question = "Set the limit to 3 USD of team/search per day (UTC)? [y/N]"
    code, drawn = in_terminal(settings, "set", "team/search", "--usd", "3", types=("[y/N]", "n\n"))
    assert code == 130
    assert question in " ".join(drawn.split())
    begin(settings)
    code, _ = in_terminal(settings, "reset", "team/search", interrupt_at="[y/N]")
    assert code == 130
    assert run_command("budget", "history", "-c", settings).out == "Nothing was done by hand.\n"
    code, drawn = in_terminal(settings, "set", "team/search", "--usd", "3", types=("[y/N]", "y\n"))
    assert code == 0
    assert "spent of 3 USD" in drawn
    code, drawn = in_terminal(settings, "set", "team/search", "--usd", "4", "--yes")
    assert code == 0
    assert "[y/N]" not in drawn


# release and history


@pytest.mark.slow
def test_a_hold_is_found_and_released_and_the_truth_takes_its_place_later(settings: str) -> None:
    async def main() -> None:
        async with app(settings) as running:
            await running.hold()
            (hold,) = (await running.told("show", "--json"))["holds"]
            ended = await running.budget("release", hold["hold"], "--reason", "its machine is gone")
            assert ended.code == 0
            assert ended.out.startswith(f"{hold['hold']}: 0.02")
            line = await running.window("team/search", "day")
            assert (line["held_usd"], line["spent_usd"]) == (0, hold["held_usd"])
            assert line["estimated_usd"] == hold["held_usd"]
            assert "over: charged" in (await running.budget("show", "--holds")).out

            ended = await running.budget("release", "no-such-hold", "--reason", "x")
            assert ended.code == 1
            assert ended.err.startswith("penstock: there is no hold no-such-hold")
        # The app has ended, and settled what it held.
        told = json.loads(run_command("budget", "show", "--json", "-c", settings).out)
        assert told["holds"] == []

    trio.run(main)


@pytest.mark.slow
def test_every_change_is_kept_with_its_time(settings: str) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    for arguments in (
        ("set", "team/search", "--usd", "3", "--reason", "the quarter's end"),
        ("set", "/", "--per", "day", "--usd", "30"),
        ("reset", "team/search", "--reason", "done"),
    ):
        assert run_command("budget", *arguments, "-c", settings).code == 0
    rows = [json.loads(line) for line in run_command("budget", "history", "--json", "-c", settings).out.splitlines()]
    assert [(row["action"], row["account"], row["window"], row["reason"]) for row in rows] == [
        ("set", "team/search", "day:UTC:team/search", "the quarter's end"),
        ("set", "", "day:UTC:", ""),
        ("reset", "team/search", "day:UTC:team/search", "done"),
    ]
    assert before.timestamp() <= rows[0]["at"] <= rows[1]["at"] <= rows[2]["at"] <= datetime.now(UTC).timestamp()
    lines = lines_of(run_command("budget", "history", "-c", settings))
    assert lines[0] == "when (UTC) account before, after"
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d set team/search 0 USD and 0 tokens spent of 0.05 USD", lines[1]
    )
    assert lines[2:4] == ["day (UTC) 0 USD and 0 tokens spent of 3 USD", "(the quarter's end)"]
    assert len(lines_of(run_command("budget", "history", "team", "-c", settings))) == 7
    tomorrow = f"{before + timedelta(days=2):%Y-%m-%d}"
    ended = run_command("budget", "history", "--from", tomorrow, "--to", tomorrow, "-c", settings)
    assert ended.out == "Nothing was done by hand.\n"


@pytest.mark.slow
def test_where_the_clock_of_the_ledger_runs_ahead_history_and_report_have_no_end(settings: str) -> None:
    path = Path(settings).parent / "ledger.db"
    assert run_command("budget", "set", "team/search", "--usd", "3", "-c", settings).code == 0
    ahead = time.time() + 3 * 86_400
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE ledger SET latest = ?", (ahead,))
    connection.close()

    async def main() -> None:
        async with app(settings) as running:
            await running.call()
            await running.kernel.snapshot()
            await running.budget("set", "team/search", "--usd", "4", "--reason", "ahead")
            rows = [json.loads(line) for line in (await running.budget("history", "--json")).out.splitlines()]
            assert [row["reason"] for row in rows] == ["", "ahead"]
            told = await running.told("report", "--format", "json")
            assert told["total"]["calls"] == 1
            assert told["to"] == f"{datetime.fromtimestamp(ahead, UTC):%Y-%m-%d}"
            today = f"{datetime.now(UTC):%Y-%m-%d}"
            assert (await running.told("report", "--format", "json", "--to", today))["total"]["calls"] == 0
            ended = await running.budget("history", "--json", "--to", today)
            assert len(ended.out.splitlines()) == 1

    trio.run(main)


# report


@pytest.mark.slow
def test_a_report_adds_up_what_calls_have_cost(settings: str) -> None:
    async def main() -> None:
        async with app(settings) as running:
            costs = [(await running.call()).cost for _ in range(3)]
            costs.append((await running.call("other")).cost)
            await running.kernel.snapshot()
            told = await running.told("report", "--format", "json")
            total = float(sum(cost for cost in costs if cost))
            assert told["total"]["usd"] == pytest.approx(total) == 4 * COST
            assert told["rows"][0] == {
                "account": "team/search",
                "target": GPT,
                "calls": 3,
                "attempts": 3,
                "input_tokens": 3_600,
                "cached_input_tokens": 3_000,
                "cache_write_tokens": 0,
                "output_tokens": 900,
                "reasoning_tokens": 600,
                "usd": 0.01425,
                "estimated_usd": 0,
                "estimated_share": 0,
            }
            assert [row["account"] for row in told["rows"]] == ["team/search", "other"]
            (row,) = (await running.told("report", "--format", "json", "--by", "target"))["rows"]
            assert (row["target"], row["calls"], "account" in row) == (GPT, 4, False)

            written = await running.budget("report", "--format", "csv", "--by", "account")
            rows = list(csv.DictReader(io.StringIO(written.out)))
            assert [(row["account"], row["usd"]) for row in rows] == [("team/search", "0.01425"), ("other", "0.00475")]

            lines = lines_of(await running.budget("report"))
            assert lines[1] == "account, target calls tries input output USD est."
            assert lines[2] == "team/search 3 3 3,600 900 $0.0142 -"
            assert lines[3] == f"{GPT} 3,000 cached 600 thought"
            assert lines[6] == "total 4 4 4,800 1,200 $0.0190 -"
            code, drawn = await trio.to_thread.run_sync(in_terminal, settings, "report")
            assert code == 0
            assert all(len(line) <= 80 for line in drawn.splitlines())

    trio.run(main)


@pytest.mark.slow
def test_days_are_those_of_the_time_zone_and_both_are_included(settings: str) -> None:
    async def main() -> None:
        async with app(settings) as running:
            await running.call()
            await running.kernel.snapshot()
            now = datetime.now(UTC)
            for hours in (-12, 0, 14):  # Etc/GMT+12 is twelve hours behind
                zone = f"Etc/GMT{-hours:+d}" if hours else "UTC"
                here = (now + timedelta(hours=hours)).date()
                for days, calls in ((-1, 0), (0, 1), (1, 0)):
                    day = f"{here + timedelta(days=days):%Y-%m-%d}"
                    asked = ("report", "--format", "json", "--from", day, "--to", day, "--timezone", zone)
                    assert (await running.told(*asked))["total"]["calls"] == calls, (zone, day)
            first, last = (f"{now + timedelta(days=days):%Y-%m-%d}" for days in (-3, 3))
            assert (await running.told("report", "--format", "json", "--from", first, "--to", last))["total"][
                "calls"
            ] == 1

    trio.run(main)


# What a shell hands over


def test_bytes_that_are_no_utf_8_end_in_a_sentence_and_are_fine_in_paths(tmp_path: Path) -> None:
    folder = tmp_path / "caf\udce9"
    folder.mkdir()
    path = folder / "penstock.toml"
    path.write_text(SETTINGS)
    ended = run_command("budget", "set", "team", "--tokens", "5", "--reason", "caf\udce9", "-c", str(path))
    assert (ended.code, ended.out) == (2, "")
    assert NO_UTF8 in ended.err
    assert "Traceback" not in ended.err
    assert run_command("budget", "set", "team", "--tokens", "5", "--reason", "café", "-c", str(path)).code == 0
    assert "(café)" in run_command("budget", "history", "-c", str(path)).out
    ended = run_command("budget", "show", "-c", str(folder / "other.toml"))
    assert (ended.code, ended.out) == (2, "")
    assert "other.toml: there is no such file" in ended.err


def test_a_clock_ahead_of_all_windows_is_told_without_a_traceback(settings: str) -> None:
    async def gives_up(store: LedgerStore) -> None:
        await store.commit([])
        raise click.ClickException("nothing can be changed")

    with pytest.raises(click.ClickException, match="nothing can be changed"):
        with_ledger(penstock.Config.load(settings), gives_up)


# Stores that have nothing to show


@pytest.mark.parametrize(
    "command",
    [
        ("show",),
        ("history",),
        ("report",),
        ("clock",),
        ("clock", "--set-back", "-y"),
        ("reset", "team", "-y"),
        ("release", "a-hold", "--reason", "gone", "-y"),
    ],
)
def test_looking_makes_no_ledger_and_says_where_there_should_be_one(
    settings: str, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(settings).parent
    assert run(["budget", *command, "-c", settings]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert f"there is no ledger to look at: {folder / 'ledger.db'} does not exist" in told.err
    assert f"So says path in [ledger] of {settings}" in told.err
    assert [path.name for path in folder.iterdir()] == ["penstock.toml"]


def test_where_no_path_is_named_it_says_whose_the_name_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "penstock.toml"
    path.write_text(SETTINGS.replace('path = "ledger.db"', 'store = "sqlite"'))
    monkeypatch.chdir(tmp_path)
    assert run(["budget", "show", "-c", "penstock.toml"]) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path / 'penstock.db'} does not exist" in told
    assert "the one that path in [ledger] has by default, beside penstock.toml" in told
    assert list(tmp_path.iterdir()) == [path]


def test_set_begins_the_books(settings: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["budget", "set", "team/search", "--usd", "3", "-c", settings]) == 0
    assert run(["budget", "show", "-c", settings]) == 0
    assert "by hand" in capsys.readouterr().out


@pytest.mark.slow
def test_a_report_has_calls_of_accounts_without_limits(tmp_path: Path) -> None:
    path = tmp_path / "penstock.toml"
    limits, _, rest = SETTINGS.partition("[budget]")
    path.write_text(limits + rest[rest.index("[accounts.team]") :])

    async def main() -> None:
        async with app(str(path)) as running:
            for account in ("team", "other"):
                await running.call(account)
            await running.kernel.snapshot()
            told = await running.told("report", "--format", "json")
            assert {row["account"]: row["calls"] for row in told["rows"]} == {"team": 1, "other": 1}

    trio.run(main)


@pytest.mark.parametrize("ledger", ["", '[ledger]\nstore = "memory"\n'])
@pytest.mark.parametrize("command", [("show",), ("history",), ("report",), ("reset", "/"), ("set", "/", "--usd", "1")])
def test_a_ledger_in_memory_has_nothing_to_show_from_outside(
    tmp_path: Path, ledger: str, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "penstock.toml"
    path.write_text(SETTINGS.partition("[budget]")[0] + '[budget]\nlimits = [{ per = "day", usd = 20 }]\n' + ledger)
    assert run(["budget", *command, "-c", str(path)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "is kept in the memory of each process that spends" in told.err
    assert 'store = "sqlite"' in told.err


def test_a_store_that_does_not_answer_is_told_with_a_code_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "penstock.toml"
    path.write_text(SETTINGS + "lock_timeout = 0.2\n")
    assert run_command("budget", "set", "team/search", "--usd", "3", "-c", str(path)).code == 0
    with (tmp_path / "ledger.db-lock").open("rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = run_command("budget", "set", "team/search", "--usd", "4", "-c", str(path))
    assert ended.code == 3
    assert "ledger.db" in ended.err
    assert "spent of 3 USD" in run_command("budget", "history", "-c", str(path)).out


@pytest.mark.slow
def test_on_a_real_valkey_it_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "penstock.toml"

    async def main() -> None:
        async with app(str(path)) as running:
            await running.call()
            await running.hold()
            (hold,) = (await running.told("show", "--json"))["holds"]
            assert (await running.budget("release", hold["hold"], "--reason", "gone")).code == 0
            assert (await running.budget("set", "team/search", "--usd", "0.02")).code == 0
            with pytest.raises(errors.BudgetExceededError, match=r"0\.02 USD per day"):
                await running.call()
            assert (await running.budget("reset", "team/search")).code == 0
            await running.call()
            report = (await running.told("report", "--format", "json"))["total"]
            assert report["calls"] == 3, "the two that were answered, and the one that was charged by hand"
            history = (await running.budget("history", "--json")).out.splitlines()
            assert [json.loads(line)["action"] for line in history] == ["release", "set", "reset"]

    with valkey_running(tmp_path) as server:
        path.write_text(SETTINGS.replace('path = "ledger.db"', f'store = "redis"\nurl = "{server.url}"'))
        trio.run(main)
    ended = run_command("budget", "show", "-c", str(path))
    assert (ended.code, ended.out) == (3, "")
    assert "Traceback" not in ended.err


def test_a_file_that_is_no_ledger_is_told(tmp_path: Path) -> None:
    path = tmp_path / "penstock.toml"
    path.write_text(SETTINGS)
    (tmp_path / "ledger.db").write_bytes(b"no database at all" * 100)
    ended = run_command("budget", "show", "-c", str(path))
    assert ended.code == 2
    assert "ledger.db" in ended.err
    assert "Traceback" not in ended.err
