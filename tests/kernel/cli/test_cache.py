"""`penstock cache`: beside an app that uses the same store, on SQLite and on a real Valkey."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio
from commands import KEY, run_command, run_in_terminal
from valkey_process import running as valkey_running
from worlds import GPT, good

import penstock
from penstock.cli._program import run
from penstock.testing import ScriptedTransport

pytestmark = pytest.mark.slow

PROMPT = "canary of the prompt"
SETTINGS = f"""
[providers.openai]
api_key = "{KEY}"
[routes.default]
cascade = ["{GPT}"]
[accounts.one]
[cache]
when = "always"
"""


def written(folder: Path, cache: str) -> str:
    """The path of a configuration."""
    path = folder / "penstock.toml"
    path.write_text(SETTINGS + cache)
    return str(path)


def fill(settings: str) -> None:
    """An app asks two questions, one for an account."""

    async def app() -> None:
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good)) as kernel:
            await kernel.complete(PROMPT, temperature=0)
            await kernel.complete(PROMPT, temperature=0, account="one")

    trio.run(app)


@pytest.mark.slow
def test_stats_explain_and_purge_of_a_sqlite_file(tmp_path: Path) -> None:
    settings = written(tmp_path, 'path = "cache.db"')
    fill(settings)
    assert (tmp_path / "cache.db").exists(), "the path is relative to the configuration's file"

    ended = run_command("cache", "stats", "-c", settings, "--json")
    told = json.loads(ended.out)
    assert (ended.code, told["store"], told["entries"], told["evictions"]) == (0, "sqlite", 2, 0)
    assert told["bytes"] > 0
    ended = run_command("cache", "stats", "-c", settings)
    assert ended.out.split()[:6] == ["store", "entries", "size", "given", "way", "sqlite"]

    ended = run_command("cache", "explain", PROMPT, "-t", "0", "-c", settings)
    assert (ended.code, "fresh" in ended.out) == (0, True)
    ended = run_command("cache", "explain", PROMPT, "-t", "1", "-c", settings)
    assert ended.code == 1
    assert "differs in temperature" in ended.out
    ended = run_command("cache", "explain", "something else", "-t", "0", "-c", settings, "--json")
    assert json.loads(ended.out)["stages"][0]["near"][0]["differs"] == ["messages[0]"]
    assert PROMPT not in ended.out

    ended = run_command("cache", "purge", "--account", "one", "--yes", "-c", settings)
    assert (ended.code, ended.out) == (0, "1 removed\n")
    ended = run_command("cache", "explain", PROMPT, "-t", "0", "-c", settings)
    assert ended.code == 0, "what others see is still there"
    for path in ("/bad/", "a//b"):
        ended = run_command("cache", "purge", "--account", path, "--yes", "-c", settings)
        assert (ended.code, ended.out) == (2, "")
        assert f"'{path}' is not the path of an account" in ended.err
        assert "Traceback" not in ended.err
    ended = run_command("cache", "explain", PROMPT, "-t", "0", "--account", "/", "-c", settings)
    assert ended.code == 0, "what has no account is the root's"
    ended = run_command("cache", "purge", "--account", "/", "--yes", "-c", settings)
    assert ended.out == "1 removed\n"
    ended = run_command("cache", "purge", "--yes", "-c", settings)
    assert ended.out == "0 removed\n"


@pytest.mark.slow
def test_stats_explain_and_purge_on_a_valkey(tmp_path: Path) -> None:
    with valkey_running(tmp_path) as server:
        settings = written(tmp_path, f'store = "redis"\nurl = "{server.url}"')
        fill(settings)
        ended = run_command("cache", "stats", "-c", settings, "--json")
        assert (ended.code, json.loads(ended.out)["entries"]) == (0, 2)
        assert run_command("cache", "explain", PROMPT, "-t", "0", "-c", settings).code == 0
        ended = run_command("cache", "purge", "--yes", "-c", settings)
        assert (ended.code, ended.out) == (0, "2 removed\n")


def test_a_store_that_is_away_is_told_in_a_sentence(tmp_path: Path) -> None:
    settings = written(tmp_path, 'store = "redis"\nurl = "redis://127.0.0.1:9/0"')
    ended = run_command("cache", "stats", "-c", settings)
    assert (ended.code, ended.out) == (1, "")
    assert "the server cannot be used" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("command", [["stats"], ["purge", "--yes"]])
def test_where_nothing_outlives_a_process_there_is_nothing_to_see(tmp_path: Path, command: list[str]) -> None:
    settings = written(tmp_path, 'store = "memory"')
    ended = run_command("cache", *command, "-c", settings)
    assert (ended.code, ended.out) == (1, "")
    assert "memory of each process" in ended.err


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (("purge", "--yes", "--account", "caf\udce9"), "'-a'"),
        (("explain", "caf\udce9"), "'[PROMPT]'"),
        (("explain", "hello", "--system", "caf\udce9"), "'-s'"),
        (("explain", "hello", "--route", "caf\udce9"), "'-r'"),
        (("explain", "hello", "--model", "caf\udce9"), "'-m'"),
    ],
)
def test_words_that_are_no_utf_8_are_refused(
    tmp_path: Path, command: tuple[str, ...], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["cache", *command, "-c", written(tmp_path, 'path = "cache.db"')]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert r"'caf\udce9' is not valid UTF-8" in " ".join(told.err.split())
    assert what in told.err
    assert not (tmp_path / "cache.db").exists()


@pytest.mark.parametrize(
    "command", [("stats",), ("stats", "--json"), ("explain", PROMPT), ("explain", PROMPT, "--json"), ("purge", "--yes")]
)
def test_looking_makes_no_file_and_says_where_there_should_be_one(tmp_path: Path, command: tuple[str, ...]) -> None:
    settings = written(tmp_path, 'path = "cache.db"\n[ledger]\nstore = "sqlite"\n')
    ended = run_command("cache", *command, "-c", settings)
    assert (ended.code, ended.out) == (1, "")
    assert f"there is no cache to look at: {tmp_path / 'cache.db'} does not exist" in ended.err
    assert f"So says path in [cache] of {settings}" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["penstock.toml"]


def test_explaining_leaves_the_ledger_alone(tmp_path: Path) -> None:
    (tmp_path / "cache.db").touch()
    settings = written(tmp_path, 'path = "cache.db"\n[ledger]\nstore = "sqlite"\n')
    ended = run_command("cache", "explain", PROMPT, "-c", settings)
    assert (ended.code, ended.err) == (1, "")
    assert "openai" in ended.out
    assert not list(tmp_path.glob("penstock.db*"))


@pytest.mark.slow
def test_without_consent_nothing_is_removed(tmp_path: Path) -> None:
    settings = written(tmp_path, 'path = "cache.db"')
    fill(settings)
    ended = run_command("cache", "purge", "-c", settings)
    assert ended.code == 2
    assert "This removes every answer, and nobody is here to be asked first: say --yes." in ended.err
    code, _ = run_in_terminal("cache", "purge", "-c", settings, types=("[y/N]", "n\n"))
    assert code == 130
    assert json.loads(run_command("cache", "stats", "-c", settings, "--json").out)["entries"] == 2


@pytest.mark.parametrize(
    ("cache", "says"),
    [
        ("path = 5", "cache.path"),
        ('paht = "x.db"', "Did you mean"),
        ('store = "sqlit"', "Did you mean"),
        ('store = "redis"\nurl = "http://x"', "cache.url"),
        ('store = "memory"\npath = "x.db"', "cache.path"),
        ('path = "no/such/folder/x.db"', "there is no folder"),
        ("stale_if_error = -1", "cache.stale_if_error"),
        ('store = "redis"\nurl = "env:NO_SUCH_VARIABLE"', "NO_SUCH_VARIABLE"),
    ],
)
@pytest.mark.slow
def test_a_mistake_in_the_cache_table_is_told_at_its_path(tmp_path: Path, cache: str, says: str) -> None:
    ended = run_command("cache", "stats", "-c", written(tmp_path, cache))
    assert ended.code == 2
    assert says.casefold() in ended.err.casefold()


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_what_is_no_finite_number_is_refused(number: str) -> None:
    ended = run_command("cache", "explain", "hello", "--temperature", number)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("Usage:")
    assert f"{number} is not" in ended.err
