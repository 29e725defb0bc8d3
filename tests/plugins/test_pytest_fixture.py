"""The pytest plugin as a user gets it: a fresh folder, a file of tests, plain `python -m pytest`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FIVE_LINES = """
from penstock import RateLimitedError

async def app(kernel):
    return (await kernel.complete("Is the sky blue?")).text

def test_my_app_waits_its_turn(penstock_kernel):
    staged = penstock_kernel(answers=["yes", RateLimitedError(retry_after=2), "no"])
    async def twice(kernel):
        return [await app(kernel), await app(kernel)]
    assert staged.run(twice) == ["yes", "no"]
    assert staged.seconds == 2
    assert len(penstock_kernel.requests) == 3
"""
OWN_CONFIG = """
[providers.anthropic]
api_key = "env:NOT_SET_ANYWHERE"
[routes.default]
cascade = ["anthropic/claude-sonnet-4-20250514", "openai/gpt-4o"]
"""


def run_pytest(folder: Path, tests: str, *options: str, environ: dict[str, str] | None = None) -> tuple[int, str]:
    (folder / "test_app.py").write_text(tests)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "PYTHONPATH"}}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env=kept | (environ or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ran.returncode, ran.stdout + ran.stderr


@pytest.mark.slow
def test_the_five_lines_of_an_app_author_run_anywhere(tmp_path: Path) -> None:
    code, said = run_pytest(tmp_path, FIVE_LINES, "--durations=1", "-vv")
    assert code == 0, said
    assert "1 passed" in said
    assert "warning" not in said.lower()
    slowest = float(said.partition("s call")[0].split()[-1]) if "s call" in said else 0.0
    assert slowest < 1.5, "the two seconds are virtual"


@pytest.mark.slow
def test_no_socket_is_opened_and_no_key_is_read(tmp_path: Path) -> None:
    tests = """
import os, socket, trio
def refuse(*_, **__): raise RuntimeError("a network in a test")
def test_it(penstock_kernel, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(trio.socket, "getaddrinfo", refuse)
    asked = []
    class Watched(dict):
        def get(self, name, default=None):
            asked.append(name)
            return default
        __getitem__ = get
    monkeypatch.setattr(os, "environ", Watched())
    staged = penstock_kernel(answers=["yes"], config="penstock.toml")
    async def app(kernel):
        return await kernel.complete("hello")
    assert staged.run(app).target == "anthropic/claude-sonnet-4-20250514"
    assert not [name for name in asked if "KEY" in name or "URL" in name or "NOT_SET" in name], asked
"""
    (tmp_path / "penstock.toml").write_text(OWN_CONFIG)
    keys = {"OPENAI_API_KEY": "sk-canary", "ANTHROPIC_API_KEY": "sk-canary"}
    code, said = run_pytest(tmp_path, tests, environ=keys)
    assert code == 0, said
    assert "sk-canary" not in said


@pytest.mark.slow
def test_a_test_that_runs_out_of_answers_fails_with_the_list(tmp_path: Path) -> None:
    tests = """
import penstock, trio
async def app(kernel):
    try:
        return (await kernel.complete("PROMPT")).text
    except penstock.PenstockError:
        return "sorry"

def test_in_run(penstock_kernel):
    assert penstock_kernel(answers=[penstock.OverloadedError()]).run(app) == "sorry"

def test_with_a_kernel_of_the_apps_own(penstock_kernel):
    staged = penstock_kernel(answers=[])
    async def main():
        async with penstock.open_kernel(staged.config, transport=staged.transport, plugins=staged.plugins) as kernel:
            assert await app(kernel) == "sorry"
    trio.run(main)
"""
    code, said = run_pytest(tmp_path, tests, "--tb=short")
    assert code == 1, said
    assert "1 answer was given, and 2 attempts were made:" in said
    assert "1. test/model: OverloadedError" in said
    assert "2. test/model: no answer left" in said
    assert "1 failed, 1 passed, 1 error" in said
    assert "PluggyTeardownRaisedWarning" not in said


@pytest.mark.slow
def test_a_test_that_leaves_answers_fails_at_its_end_unless_it_says_that_this_is_fine(tmp_path: Path) -> None:
    tests = """
import penstock
async def app(kernel):
    return (await kernel.complete("PROMPT")).text

def test_left(penstock_kernel):
    assert penstock_kernel(answers=["yes", "SECRET", penstock.OverloadedError]).run(app) == "yes"

def test_never_opened(penstock_kernel):
    penstock_kernel(answers=["SECRET"])

def test_fine(penstock_kernel):
    assert penstock_kernel(answers=["yes", "SECRET"], all_asked=False).run(app) == "yes"

def test_a_function_has_no_answers_left(penstock_kernel):
    assert penstock_kernel(lambda request: "yes").run(app) == "yes"
"""
    code, said = run_pytest(tmp_path, tests, "--tb=line")
    assert code == 1, said
    assert "4 passed, 2 errors" in said
    assert "2 answers were never asked for, of 3 given; attempts made: 1" in said
    code, said = run_pytest(tmp_path, tests, "--tb=short")
    assert "1 answer was never asked for, of 1 given" in said
    assert "2. str" in said
    assert "3. OverloadedError" in said


@pytest.mark.slow
def test_a_test_that_failed_or_skipped_itself_hears_nothing_of_answers_left(tmp_path: Path) -> None:
    tests = """
import pytest
async def app(kernel):
    return (await kernel.complete("PROMPT")).text

def test_failed(penstock_kernel):
    assert penstock_kernel(answers=["yes", "more"]).run(app) == "no"

def test_skipped(penstock_kernel):
    penstock_kernel(answers=["yes", "more"])
    pytest.skip("not here")

@pytest.mark.xfail(strict=True)
def test_expected_to_fail(penstock_kernel):
    assert penstock_kernel(answers=["yes", "more"]).run(app) == "no"

@pytest.fixture
def broken(penstock_kernel):
    penstock_kernel(answers=["yes"])
    raise RuntimeError("another fixture")

def test_never_begun(broken):
    pass
"""
    code, said = run_pytest(tmp_path, tests, "--tb=short")
    assert code == 1, said
    assert "1 failed, 1 skipped, 1 xfailed, 1 error" in said
    assert "another fixture" in said
    assert "never asked for" not in said


@pytest.mark.slow
def test_the_plugin_costs_nothing_where_nobody_asks_for_it(tmp_path: Path) -> None:
    tests = """
import sys
def test_nothing_of_penstock_is_imported():
    loaded = {name for name in sys.modules if name.partition(".")[0].startswith("penstock")}
    assert loaded == {"penstock_plugins", "penstock_plugins.pytest_fixture"}, loaded
    assert not {"trio", "httpx", "msgspec"} & set(sys.modules)
"""
    code, said = run_pytest(tmp_path, tests, "-p", "no:hypothesispytest", "-p", "no:anyio")
    assert code == 0, said
    code, said = run_pytest(tmp_path, "def test_it():\n    pass\n", "--fixtures", "-v")
    assert code == 0, said
    assert "penstock_kernel" in said
    assert "No key, no network" in said
