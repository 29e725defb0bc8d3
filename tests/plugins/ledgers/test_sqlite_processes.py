"""Real processes on one file, killed at random: the limit holds, and nothing that was served is forgotten."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Self

import attrs
import pytest
import trio
from ledger_process import MOST
from ledgering import sqlite_ledger
from soak import SOAK

pytest.importorskip("fcntl", reason="writers queue by flock, which this system does not have")
PROCESS = Path(__file__).parents[2] / "ledger_process.py"
SECONDS = 60.0 if SOAK else 3.0
CALLERS = 64
PROCESSES = 8
LEASE = 2.0
LIMIT = int(400_000 * SECONDS)


@attrs.define
class Fleet:
    """Processes on one ledger; one that is killed is followed by another."""

    folder: Path
    limit: int
    running: list[subprocess.Popen[bytes]] = attrs.field(factory=list[subprocess.Popen[bytes]])
    started: int = 0

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"

    def start(self) -> None:
        self.started += 1
        arguments = [self.ledger, self.folder / f"served-{self.started}", self.limit, CALLERS, self.started, LEASE]
        command = [sys.executable, str(PROCESS), *map(str, arguments)]
        self.running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE))

    def kill(self, chance: random.Random) -> None:
        victim = self.running.pop(chance.randrange(len(self.running)))
        victim.kill()
        victim.communicate()

    def end(self) -> None:
        """Lets the others come to their end by themselves."""
        for process in self.running:
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
        while self.running:
            process = self.running.pop()
            _, said = process.communicate(timeout=60)
            assert process.returncode == 0, said.decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running:
            process.kill()
            process.communicate()

    def wait_until_served(self, tokens: int) -> None:
        """Until every process has served so much. A loaded machine is slow to start them."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            served = self.served()
            if len(served) == self.started and min(served.values()) >= tokens:
                return
            time.sleep(0.05)
        raise AssertionError(f"after a minute: {self.served()}")

    def served(self) -> Counter[str]:
        """Tokens by process."""
        logs = self.folder.glob("served-*")
        return Counter({log.name: sum(map(int, log.read_text().split())) for log in logs})


def in_the_ledger(path: Path, *, later: float) -> tuple[int, int]:
    """Tokens held and spent in the root's window so many seconds from now."""

    async def main() -> tuple[int, int]:
        async with sqlite_ledger(path, lambda: time.time() + later) as store:
            await store.commit(())
            rows = await store.windows(("month:UTC:",))
            return (rows[0].held.tokens, rows[0].spent.tokens) if rows else (0, 0)

    return trio.run(main)


@pytest.mark.slow
def test_processes_that_are_killed_at_random_never_exceed_the_limit_nor_forget_what_was_served(tmp_path: Path) -> None:
    print(f"{PROCESSES} processes with {CALLERS} callers each for {SECONDS:g} s (60 s with PENSTOCK_SOAK=1)")
    chance = random.Random(4)
    with Fleet(tmp_path, LIMIT) as fleet:
        for _ in range(PROCESSES):
            fleet.start()
        fleet.wait_until_served(1)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            time.sleep(chance.uniform(0.05, 0.6))
            fleet.kill(chance)
            fleet.start()
            # Read before what is in the ledger: nothing may be served of which it does not know.
            so_far = fleet.served().total()
            held, spent = in_the_ledger(fleet.ledger, later=0.0)
            assert so_far <= held + spent <= LIMIT
        fleet.end()
        served = fleet.served()
        held, spent = in_the_ledger(fleet.ledger, later=LEASE + 1)
        print(f"{fleet.started} processes, {served.total()} tokens served, {spent} spent, of {LIMIT}")
        assert held == 0
        assert 0 < served.total() <= spent <= LIMIT


@pytest.mark.slow
def test_a_small_limit_is_used_up_and_not_exceeded_by_one_token(tmp_path: Path) -> None:
    with Fleet(tmp_path, 50 * MOST) as fleet:
        for _ in range(3):
            fleet.start()
        until = time.monotonic() + 60
        while time.monotonic() < until and fleet.served().total() < 49 * MOST:
            time.sleep(0.05)
        fleet.end()
        held, spent = in_the_ledger(fleet.ledger, later=LEASE + 1)
        assert held == 0
        assert 49 * MOST <= spent <= 50 * MOST
        assert fleet.served().total() <= spent


@pytest.mark.slow
def test_processes_take_turns(tmp_path: Path) -> None:
    with Fleet(tmp_path, 10**12) as fleet:
        for _ in range(4):
            fleet.start()
        fleet.wait_until_served(100 * MOST)
        served = fleet.served()
        fleet.end()
        assert len(served) == 4
        assert min(served.values()) * 10 > max(served.values()), f"one process got a tenth of another's turns: {served}"
