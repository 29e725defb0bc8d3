"""A kernel with its ledger in a file, as the configuration says it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import trio
from worlds import KEY, good

import penstock
from penstock import BudgetExceededError, Config, ConfigError
from penstock.testing import ScriptedTransport

TOML = f"""
[providers.openai]
api_key = "{KEY}"
[routes.default]
cascade = ["openai/gpt-4o"]
[budget]
limits = [{{ per = "month", usd = 0.05 }}]
[ledger]
synchronous = "normal"
"""


async def call(config: Config) -> None:
    async with penstock.open_kernel(config, transport=ScriptedTransport(good)) as kernel:
        await kernel.complete("why?", max_tokens=1_000)


def test_what_a_kernel_spends_counts_for_the_next_one_beside_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text(TOML)
    for _ in range(2):
        trio.run(call, Config.load(file))
    connection = sqlite3.connect(tmp_path / "penstock.db")
    (calls,) = connection.execute("SELECT sum(calls) FROM journal").fetchone()
    connection.execute("UPDATE buckets SET spent_nano_usd = 49000000")
    connection.commit()
    connection.close()
    assert calls == 2
    with pytest.raises(BudgetExceededError):
        trio.run(call, Config.load(file))


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    file = tmp_path / "penstock.toml"
    file.write_text(TOML + 'path = "~/ledger.db"\n')
    trio.run(call, Config.load(file))
    assert (tmp_path / "home" / "ledger.db").exists()


def test_mistakes_in_its_options_are_named_by_their_place(tmp_path: Path) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text(TOML.replace('"normal"', '"sometimes"') + "lock_timeout = 0\nreport_dayz = 3\n")
    with pytest.raises(ConfigError) as raised:
        Config.load(file)
    told = str(raised.value)
    assert all(word in told for word in ("ledger.synchronous", "ledger.lock_timeout", "ledger.report_dayz")), told


def test_a_file_that_cannot_be_a_ledger_stops_the_start_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "penstock.db").write_text("somebody's notes " * 1_000)
    file = tmp_path / "penstock.toml"
    file.write_text(TOML)
    with pytest.raises(ConfigError, match="it is no SQLite database: name another path"):
        trio.run(call, Config.load(file))
