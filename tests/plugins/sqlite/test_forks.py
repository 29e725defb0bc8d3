"""Forks of a program that has SQLite files open may open them themselves, whatever the program does meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import forking
import pytest
import trio
from ledgering import Wall, root_window, sqlite_ledger

from penstock_plugins.sqlite import forks

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
PATIENCE = 60.0
USED = {
    "at_rest": 21,
    "while_it_writes": 9,
    "parent_leaves": 15,
    "in_its_own_thread": 12,
    "that_cannot_wait": 3,
    "last": 3,
}
"""How often the store is used in a story, by all processes."""


@pytest.mark.parametrize("story", forking.STORIES, ids=lambda story: story.__name__)
@pytest.mark.parametrize("kind", ["ledger", "cache"])
def test_a_fork_opens_the_file_anew_or_is_told_why_it_may_not(tmp_path: Path, kind: str, story: forking.Story) -> None:
    path = tmp_path / "store.db"
    ran = subprocess.run(
        [sys.executable, forking.__file__, kind, story.__name__, str(path)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    if kind == "ledger" and story.__name__ in USED:
        trio.run(nothing_is_lost, path, USED[story.__name__])


async def nothing_is_lost(path: Path, used: int) -> None:
    async with sqlite_ledger(path, Wall()) as store:
        assert await root_window(store) == (0, used)


def test_programs_that_are_started_close_nothing() -> None:
    closed: list[None] = []
    guard = forks.Guard(lambda: closed.append(None))
    subprocess.run([sys.executable, "-c", ""], check=True)
    assert not closed
    guard.leave()
