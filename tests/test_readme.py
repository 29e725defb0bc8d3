"""The README, executed: every snippet runs, every test it names exists, its commands are the ones that are run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import trio
from dialect_document import BEGINS, ENDS, table

import penstock

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
SNIPPETS = dict(re.findall(r"<!-- snippet: (\w+) -->\n```\w+\n(.*?)```", README, re.DOTALL))
SERVER = """
import trio
from penstock_plugins.rehearsal import Script, Upstream, serve
async def main():
    async with serve(Upstream(Script())) as server:
        print(server.url, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["example", "tools", "explain", "quote", "streams", "tokenizer", "rehearse"])
def test_a_snippet_of_the_readme_runs(name: str) -> None:
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        url = server.stdout.readline().strip()
        environ = {
            "OPENAI_API_KEY": "any",
            "OPENAI_BASE_URL": f"{url}/v1",
            "ANTHROPIC_API_KEY": "any",
            "ANTHROPIC_BASE_URL": url,
        }
        snippet = [sys.executable, "-W", "error", "-c", SNIPPETS[name]]
        result = subprocess.run(snippet, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 0, result.stderr
        if name == "example":
            assert "refused here: " in result.stdout
            assert "claude-sonnet-4-20250514 ok" in result.stdout
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["values", "answers", "chaos"])
def test_a_test_of_the_readme_passes_under_plain_pytest(name: str, tmp_path: Path) -> None:
    (tmp_path / "test_app.py").write_text(SNIPPETS[name])
    kept = {variable: value for variable, value in os.environ.items() if variable in {"PATH", "PYTHONPATH"}}
    snippet = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_app.py"]
    result = subprocess.run(snippet, cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 passed" in result.stdout


@pytest.mark.slow
def test_the_commands_of_the_readme_run_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").write_text(
        '[routes.default]\ncascade = ["openai/gpt-4o"]\n'
        '[accounts.team]\nlimits = [{ per = "day", usd = 20 }]\n[ledger]\n'
    )
    environ = {"PENSTOCK_CONFIG": str(tmp_path / "penstock.toml"), "OPENAI_API_KEY": "any", "PYTHONUTF8": "1"}

    async def app() -> None:
        async with penstock.open_kernel(penstock.Config.load(tmp_path / "penstock.toml", environ=environ)):
            pass  # the ledger is made

    trio.run(app)
    said: dict[str, str] = {}
    for line in SNIPPETS["budget"].splitlines():
        program, *arguments = shlex.split(line, comments=True)
        assert program == "penstock"
        command = [sys.executable, "-m", "penstock.cli", *arguments]
        ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 0, (line, ended.stderr)
        said[arguments[1]] = ended.stdout
    assert "$20.00" in said["show"]
    assert len(re.findall("quarter's end|12.5 USD|reset", said["history"])) == 4
    assert said["report"].startswith("account,target,calls")


def test_the_configuration_of_the_readme_is_valid() -> None:
    config = penstock.Config.from_dict(tomllib.loads(SNIPPETS["toml"]), environ={"ANTHROPIC_API_KEY": "any"})
    assert [stage.target for stage in config.route().stages] == ["sonnet", "local/llama-3.3-70b"]


def test_every_snippet_of_the_readme_is_tested() -> None:
    named = "example tools explain quote budget streams values tokenizer toml telemetry rehearse answers chaos"
    assert set(SNIPPETS) == {*named.split()}
    fenced = re.findall(r"^```(?:python|toml|sh)$", README, re.MULTILINE)
    assert len(fenced) == len(SNIPPETS)


def test_every_promise_names_a_test_that_exists() -> None:
    named = set(re.findall(r"`(tests/[\w/]+(?:\.py)?/?)(?:::(\w+))?`", README))
    assert len(named) > 10
    for file, test in named:
        path = ROOT / file
        assert path.exists(), file
        if test:
            assert f"def {test}(" in path.read_text(), f"{file} has no {test}"


def test_the_readme_has_exactly_two_commands() -> None:
    assert re.findall(r"<!-- command: (\w+) -->", README) == ["demo", "test"]


def test_the_table_of_dialects_is_the_one_that_is_used() -> None:
    """`PENSTOCK_WRITE_DOCS=1` writes it anew."""
    before, _, rest = README.partition(BEGINS)
    shown, _, after = rest.partition(ENDS)
    if os.environ.get("PENSTOCK_WRITE_DOCS"):
        (ROOT / "README.md").write_text(f"{before}{BEGINS}{table()}{ENDS}{after}")
        return
    assert shown == table()
