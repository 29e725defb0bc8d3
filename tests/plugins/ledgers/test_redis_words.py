"""What a ledger on Redis says of its server's refusals, and what it never says: the password."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from redis_stores import TOOLS, opened, patiently
from valkey_process import Valkey, running

from penstock.errors import ConfigError, LedgerUnavailableError
from penstock.policy.holds import Amount, Line
from penstock.policy.ledger_steps import Change, Reserve, Settle, Step, TopUp, WindowUse
from penstock_plugins.ledgers.redis import RedisLedgerOptions, open_redis_ledger, penstock_ledgers
from penstock_plugins.ledgers.redis_ledger.link import Server

HELLO = b"%3\r\n$5\r\nproto\r\n:3\r\n$7\r\nversion\r\n$3\r\n7.0\r\n$2\r\nid\r\n:1\r\n"
PASSWORD = "p%40ss-the-canary"
WINDOW = WindowUse("day:UTC:team", 9e9, rolling=False)


@asynccontextmanager
async def a_server_that_says(answer: bytes) -> AsyncGenerator[str]:
    """A loopback server that greets a client, and answers whatever else it is asked with the same words."""

    async def serve(stream: trio.SocketStream) -> None:
        async for data in stream:
            # A command of ours comes in one piece on the loopback: "*n" begins each.
            for command in data.split(b"*")[1:]:
                greets = HELLO if b"HELLO" in command else b"+OK\r\n" if b"CLIENT" in command else b""
                port = b"%d" % listeners[0].socket.getsockname()[1]
                await stream.send_all(greets or answer.replace(b"PORT", port) + b"\r\n")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        yield f"redis://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


REFUSALS = {
    b"-LOADING Valkey is loading the dataset in memory": "still loading its data",
    b"-READONLY You can't write against a read only replica.": "point url at the primary",
    b"-OOM command not allowed when used memory > 'maxmemory'.": "maxmemory-policy be noeviction",
    b"-MISCONF Errors writing to the AOF file: No space left on device": "takes no writes at present: MISCONF",
    b"-MASTERDOWN Link with MASTER is down": "takes no writes at present: MASTERDOWN",
    b"-NOREPLICAS Not enough good replicas to write.": "takes no writes at present: NOREPLICAS",
    b"-BUSY Valkey is busy running a script.": "takes no writes at present: BUSY",
    b"-NOPERM this user has no permissions to run the 'evalsha' command": "may not do what a ledger needs",
    b"-CLUSTERDOWN Hash slot not served": "cluster is being changed",
    b"-TRYAGAIN Multiple keys request during rehashing of slot": "cluster is being changed",
    b"-ASK 7 127.0.0.1:1": "cluster is being changed",
    b"-ERR max number of clients reached": "no connection",
    b"-ERR unknown command 'EVALSHA'": "unknown command",
    b"-SOMETHING new": "SOMETHING new",
    b"?what is this": "cannot be used",
}


@pytest.mark.parametrize(("answer", "words"), REFUSALS.items(), ids=lambda each: str(each)[:20])
def test_each_refusal_of_a_server_is_told_in_words(answer: bytes, words: str) -> None:
    async def main() -> None:
        async with a_server_that_says(answer) as url, opened(url, "words", timeout=5) as store:
            for _ in range(2):
                with trio.fail_after(20), pytest.raises(LedgerUnavailableError, match=words):
                    await store.commit(())

    trio.run(main)


def test_a_cluster_that_sends_us_round_in_circles_ends() -> None:
    async def main() -> None:
        async with a_server_that_says(b"-MOVED 7 127.0.0.1:PORT") as url, opened(url, "moved") as store:
            with trio.fail_after(10), pytest.raises(LedgerUnavailableError, match="does not agree on who has it"):
                await store.commit(())

    trio.run(main)


@pytest.mark.parametrize("answer", [b"+OK", b":7", b"$3\r\nabc", b"$1\r\n\x07", b"*0", b"_", b"$2\r\n\x92\x01"])
def test_a_server_that_is_no_ledger_is_told_from_one(answer: bytes) -> None:
    async def main() -> None:
        async with a_server_that_says(answer) as url, opened(url, "else") as store:
            with trio.fail_after(20), pytest.raises(LedgerUnavailableError, match="what penstock did not write"):
                await store.commit(())

    trio.run(main)


@pytest.mark.parametrize(
    ("user", "words"),
    [
        (f":{PASSWORD}-wrong@", "does not accept the user or the password"),
        ("", "does not accept the user or the password"),
        (f"nobody:{PASSWORD}@", "does not accept the user or the password"),
        (f"weak:{PASSWORD}@", "may not do what a ledger needs"),
    ],
)
def test_a_wrong_password_is_told_and_not_shown(
    user: str, words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def main(server: Valkey) -> None:
        server.say("ACL", "SETUSER", "weak", "on", f">{PASSWORD.replace('%40', '@')}", "~*", "+@connection", "+hgetall")
        server.say("CONFIG", "SET", "requirepass", PASSWORD.replace("%40", "@"))
        async with opened(server.url.replace("//", f"//{user}"), "secret") as store:
            with pytest.raises(LedgerUnavailableError, match=words) as caught:
                await store.commit(())
            error: BaseException | None = caught.value
            while error is not None:
                assert "canary" not in f"{error!r} {error}"
                error = error.__cause__
            assert "canary" not in repr(store)
        async with opened(server.url.replace("//", f"//:{PASSWORD}@"), "secret") as store:
            await store.commit(())

    with running(tmp_path) as server:
        trio.run(main, server)
    assert "canary" not in caplog.text


def test_a_server_shows_no_password() -> None:
    server = Server(host="localhost", port=6379, username="me", password=PASSWORD)
    assert "canary" not in f"{server} {server!r}"


def test_a_password_that_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(server: Valkey) -> None:
        monkeypatch.setenv("LEDGER_URL", server.url)
        async with opened("env:LEDGER_URL", "again") as store:
            await store.commit(())
            server.say("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            server.say("CONFIG", "SET", "requirepass", "new")
            monkeypatch.setenv("LEDGER_URL", server.url.replace("//", "//:new@"))
            # The connection that was there is gone; the next one needs the new password.
            with trio.fail_after(20):
                await patiently(lambda: store.commit(()))

    with running(tmp_path) as server:
        trio.run(main, server)


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{PASSWORD}@localhost",
        f":{PASSWORD}@localhost:6379",
        f"redis://:{PASSWORD}@localhost:port",
        f"redis://:{PASSWORD}@localhost/one",
        f"redis://:{PASSWORD}@",
        f"redis://:{PASSWORD}@localhost:99999",
    ],
)
def test_what_is_no_url_is_told_without_showing_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="must be a URL such as") as caught:
        RedisLedgerOptions(url=url)
    assert "canary" not in repr(caught.value)
    monkeypatch.setenv("LEDGER_URL", url)
    with pytest.raises(ConfigError, match="what LEDGER_URL holds must be a URL such as") as wrong:
        trio.run(entered, RedisLedgerOptions(url="env:LEDGER_URL"))
    assert "canary" not in f"{wrong.value!r} {wrong.value.__cause__!r} {wrong.value.__context__!r}"


def test_a_file_is_named_by_a_path_with_or_without_slashes_and_one_that_is_none_is_not_shown(tmp_path: Path) -> None:
    kept = tmp_path / "url"
    kept.write_text("redis://[", encoding="utf-8")
    for named in (f"file:{kept}", f"file://{kept}"):
        with pytest.raises(ConfigError, match=r"url: what .*url holds must be a URL"):
            trio.run(entered, RedisLedgerOptions(url=named))
    with pytest.raises(ConfigError, match="url: what is named there cannot be read: FileNotFoundError"):
        trio.run(entered, RedisLedgerOptions(url="file:s3cr3t-p4ssw0rd"))
    for slip in ("file:redis://user:s3cr3t@host:x/0", "env:redis://user:s3cr3t@host:x/0"):
        with pytest.raises(ValueError, match=r"^(?!.*s3cr3t)"):
            RedisLedgerOptions(url=slip)


def test_sources_that_are_not_there_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEDGER_URL", raising=False)
    with pytest.raises(ConfigError, match="there is no variable LEDGER_URL in the environment"):
        trio.run(entered, RedisLedgerOptions(url="env:LEDGER_URL"))
    with pytest.raises(ConfigError, match="nowhere cannot be read: FileNotFoundError"):
        trio.run(entered, RedisLedgerOptions(url=f"file:{tmp_path / 'nowhere'}"))
    with pytest.raises(ConfigError, match=r"ca_file: .*nowhere holds no certificates"):
        trio.run(entered, RedisLedgerOptions(url="rediss://localhost", ca_file=tmp_path / "nowhere"))


def test_options_show_no_url_and_take_no_nonsense() -> None:
    assert "canary" not in repr(RedisLedgerOptions(url=f"redis://:{PASSWORD}@localhost"))
    wrongs: tuple[dict[str, Any], ...] = ({"namespace": "a}b"}, {"namespace": ""}, {"timeout": 0}, {"timeout": -1})
    for wrong in wrongs:
        with pytest.raises(ValueError, match=r"namespace|timeout"):
            RedisLedgerOptions(**wrong)
    (spec,) = penstock_ledgers()
    assert (spec.name, spec.options) == ("redis", RedisLedgerOptions)


def test_figures_that_cannot_be_kept_exactly_are_refused_before_they_are_sent(valkey: Valkey) -> None:
    too_large: list[Step] = [
        reserve(Line(10**13, 0, 0, 0)),
        reserve(Line(0, 10**22, 0, 0)),
        reserve(Line(0, 0, 10**15, 10**9), most=10**9),
        reserve(Line(0, 0, 0, 0), most=10**16),
        Settle(hold_id="a", charged=Amount(0, 10**22)),
        Change(account="", window=WINDOW, limit_tokens=10**16),
        Change(account="", window=WINDOW, limit_nano_usd=10**22),
    ]
    senseless: list[Step] = [
        Settle(hold_id="a", charged=Amount(-1)),
        Settle(hold_id="a", charged=Amount(0, -1)),
        TopUp(hold_id="a", number=1, windows=(), more=Amount(-5)),
        Change(account="", window=WINDOW, spent_tokens=-1),
        reserve(Line(0, 0, 0, 0), least=9, most=8),
    ]

    async def main() -> None:
        async with opened(valkey.url, "figures") as store:
            for step in too_large:
                with pytest.raises(ConfigError, match="cannot be kept exactly"):
                    await store.commit((reserve(Line(1, 1, 1, 1)), step))
            for step in senseless:
                with pytest.raises(ValueError, match=r"negative|no range"):
                    await store.commit((reserve(Line(1, 1, 1, 1)), step))
            assert list(await store.holds()) == []

    trio.run(main)


async def entered(options: RedisLedgerOptions) -> None:
    async with open_redis_ledger(options, TOOLS):
        pass


def reserve(line: Line, *, least: int = 0, most: int = 0) -> Reserve:
    return Reserve(
        hold_id="r", account="", windows=(WINDOW,), lines=(line,), min_output=least, max_output=most, lease=9.0
    )
