"""A process that spends from a shared ledger until it is killed, and the upstream that counts what it was served.

A worker has many tasks and one commit in flight, as a kernel has. It never tells what it believes: only the upstream,
in the process of the test, counts.
"""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from penstock.abc import LedgerStore
from penstock.errors import LedgerUnavailableError
from penstock.policy.holds import Amount, Line
from penstock.policy.ledger_steps import Answer, Charged, Held, Reserve, Settle, Step, WindowUse

__all__ = ["ACCOUNTS", "FOREVER", "LEASE", "Limits", "Upstream", "Workers", "work"]

ACCOUNTS = ("team/a", "team/b", "team/c")
FOREVER = 4e9
"""The end of a window that the test does not live to see."""
LEASE = 2.0


@attrs.frozen
class Limits:
    """In tokens: of everything, of each account, and of each second."""

    total: int
    account: int
    second: int

    def windows(self, account: str, now: float) -> tuple[WindowUse, ...]:
        """Those of a call; the second is the one of `now`."""
        return (
            WindowUse("month:UTC:", FOREVER, rolling=False, limit_tokens=self.total),
            WindowUse("second:UTC:", math.floor(now) + 1.0, rolling=False, limit_tokens=self.second),
            WindowUse(f"month:UTC:{account}", FOREVER, rolling=False, limit_tokens=self.account),
        )


class Upstream:
    """Serves what it is asked, and counts it by account and by second; on a socket, for other processes."""

    def __init__(self) -> None:
        self.by_account: Counter[str] = Counter()
        self.by_second: Counter[float] = Counter()

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[int]:
        """Its port."""
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, self._serve, 0)
            yield listeners[0].socket.getsockname()[1]
            nursery.cancel_scope.cancel()

    async def _serve(self, stream: trio.SocketStream) -> None:
        rest = b""
        try:
            async for data in stream:
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    account, second, tokens = line.decode().split()
                    self.by_account[account] += int(tokens)
                    self.by_second[float(second)] += int(tokens)
                    await stream.send_all(b"+")
        except trio.BrokenResourceError:
            return


class Teller:
    """One commit at a time for all tasks of a process: what arrived meanwhile is the next batch."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self._waiting: list[tuple[Step, trio.Event, list[Answer]]] = []
        self._asked = trio.Event()
        self.now = 0.0

    async def run(self) -> None:
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            batch, self._waiting = self._waiting, []
            while True:
                try:
                    landed = await self._store.commit([step for step, _, _ in batch])
                except LedgerUnavailableError:
                    await trio.sleep(0.05)
                else:
                    break
            self.now = landed.now
            for (_, event, answers), answer in zip(batch, landed.answers, strict=True):
                answers.append(answer)
                event.set()

    async def ask(self, step: Step) -> Answer:
        event, answers = trio.Event(), list[Answer]()
        self._waiting.append((step, event, answers))
        self._asked.set()
        await event.wait()
        return answers[0]


async def work(store: LedgerStore, upstream_port: int, limits: Limits, tasks: int) -> None:
    """Spends until it is killed."""
    teller = Teller(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(teller.run)
        await teller.ask(Settle(hold_id=f"{os.getpid()}-hello", charged=Amount()))
        for number in range(tasks):
            nursery.start_soon(_spend, teller, upstream_port, limits, number)


async def _spend(teller: Teller, port: int, limits: Limits, number: int) -> None:
    chance = random.Random(f"{os.getpid()} {number}")
    upstream = await trio.open_tcp_stream("127.0.0.1", port)
    call = 0
    while True:
        call += 1
        account, hold_id = chance.choice(ACCOUNTS), f"{os.getpid()}-{number}-{call}"
        given, most = chance.randrange(1, 20), chance.randrange(5, 200)
        windows = limits.windows(account, teller.now)
        reserve = Reserve(
            hold_id=hold_id,
            account=account,
            windows=windows,
            lines=(Line(given, 0, 0, 10**6),),
            min_output=1,
            max_output=most,
            lease=LEASE,
            waits=chance.random() < 0.5,
        )
        answer = await teller.ask(reserve)
        if not isinstance(answer, Held):
            await trio.sleep(chance.random() * 0.05)
            continue
        # A provider keeps to max_tokens; what it gives less is not known before.
        tokens = given + chance.randrange(answer.output_tokens + 1)
        await upstream.send_all(f"{account} {windows[1].end} {tokens}\n".encode())
        await upstream.receive_some(1)
        await trio.sleep(chance.random() * 0.02)
        answer = await teller.ask(Settle(hold_id=hold_id, charged=Amount(tokens)))
        assert isinstance(answer, Charged), f"{hold_id} was held and is answered {answer}"


@attrs.define
class Workers:
    """Processes that run one command, killed at random and replaced."""

    command: list[str]
    number: int
    log: Path
    running: list[subprocess.Popen[bytes]] = attrs.field(factory=list[subprocess.Popen[bytes]])
    killed: int = 0

    def start(self) -> None:
        while len(self.running) < self.number:
            with self.log.open("ab") as log:
                command = [sys.executable, *self.command]
                self.running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log))

    @property
    def all_run(self) -> bool:
        """Whether none has ended by itself."""
        return all(process.poll() is None for process in self.running)

    def kill_one(self, chance: random.Random) -> None:
        """In the middle of whatever it does."""
        victim = self.running.pop(chance.randrange(len(self.running)))
        assert victim.poll() is None, f"a worker ended by itself: {self.log.read_text()[-3_000:]}"
        _kill(victim)
        self.killed += 1

    def end_all(self) -> None:
        """By the end of their input; each must come to its end by itself, and in peace."""
        for process in self.running:
            assert process.stdin is not None
            process.stdin.close()
        for process in self.running:
            assert process.wait(timeout=60) == 0, f"a worker ended badly: {self.log.read_text()[-3_000:]}"
        self.running.clear()

    def kill_all(self) -> None:
        for process in self.running:
            _kill(process)
        self.running.clear()


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdin is not None
    process.stdin.close()
