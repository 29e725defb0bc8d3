"""`penstock check`: a good configuration shown, a bad one with all its mistakes, and targets tried for real."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import KEY, local_upstream, run_command, run_in_terminal

from penstock_plugins.rehearsal import Rule, Script, faults

pytestmark = pytest.mark.slow

GOOD = """
[providers.anthropic]
api_key = "env:MY_KEY"
[providers.local]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
[targets.strong]
provider = "anthropic"
model = "claude-sonnet-4-5"
timeouts = { first_token = 20 }
price = { input = 3, output = 15 }
[targets.own]
provider = "local"
model = "llama-on-my-desk"
[routes.default]
cascade = [{ target = "strong", attempts = 3 }, "own"]
timeout = 90
[budget]
limits = [{ per = "day", usd = 20, timezone = "Europe/Berlin" }]
[accounts."team/search"]
limits = [{ per = "request", output_tokens = 2000 }]
[cache]
store = "memory"
"""
BAD = """
[providers.openai]
api_key = "env:NOT_SET"
[targets.gpt]
provider = "opnai"
model = "gpt-4.1"
timeouts = { idel = 3 }
[routes.default]
cascade = [{ target = "gtp", attempts = 0 }]
"""


def write(folder: Path, toml: str) -> str:
    path = folder / "penstock.toml"
    path.write_text(toml)
    return str(path)


def test_a_good_configuration_is_shown_without_its_keys(tmp_path: Path) -> None:
    ended = run_command("check", write(tmp_path, GOOD), environ={"MY_KEY": KEY})
    assert ended.code == 0
    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert "anthropic anthropic https://api.anthropic.com env:MY_KEY" in lines
    assert "local openai http://127.0.0.1:9/v1 none" in lines
    assert "strong claude-sonnet-4-5 $3.00 / $15.00 toml 5 / 20 / 30 / 600" in lines
    assert "default strong (3x), then own (3x) 90 s" in lines
    assert "(all) 20 USD per day (Europe/Berlin)" in lines
    assert "team/search 2000 output tokens per request" in lines
    assert KEY not in ended.out + ended.err


def test_where_telemetry_goes_is_shown_and_no_header(tmp_path: Path) -> None:
    toml = GOOD + '[telemetry]\notlp = "http://collector:4318"\nheaders = { x-team = "env:TEAM_KEY" }\n'
    environ = {"MY_KEY": KEY, "TEAM_KEY": "canary-1", "OTEL_EXPORTER_OTLP_HEADERS": "a=canary-2"}
    ended = run_command("check", write(tmp_path, toml), environ=environ)
    assert ended.code == 0
    assert "Telemetry: traces to http://collector:4318/v1/traces, metrics to http" in " ".join(ended.out.split())
    assert "canary" not in ended.out + ended.err


def test_what_may_surprise_later_is_noted_now(tmp_path: Path) -> None:
    ended = run_command("check", write(tmp_path, GOOD), environ={"MY_KEY": KEY})
    assert "no price is known for own" in ended.err
    assert "what was spent is forgotten" in ended.err
    assert "limits may be exceeded" not in ended.err


def test_what_guesses_give_up_is_noted_too(tmp_path: Path) -> None:
    toml = GOOD.replace("[budget]", '[budget]\nunknown_usage = "likely"')
    ended = run_command("check", write(tmp_path, toml), environ={"MY_KEY": KEY})
    assert ended.code == 0
    assert "limits may be exceeded" in " ".join(ended.err.split())


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    ended = run_command("check", write(tmp_path, BAD))
    assert (ended.code, ended.out) == (2, "")
    for words in ("NOT_SET", "targets.gpt.provider", "'openai'", "targets.gpt.timeouts.idel", "gtp", "attempts"):
        assert words in ended.err


@pytest.mark.parametrize("toml", ["[providers.openai", 'a = "unfinished', "\x00", "= 3"])
def test_a_broken_file_is_one_sentence_with_the_place(tmp_path: Path, toml: str) -> None:
    ended = run_command("check", write(tmp_path, toml))
    assert ended.code == 2
    assert "penstock.toml" in ended.err
    assert "line 1" in ended.err
    assert "Traceback" not in ended.err


def test_a_truncated_file_never_passes_for_whole(tmp_path: Path) -> None:
    environ = {"MY_KEY": KEY}
    whole = GOOD.rstrip()
    # Cut inside the last line of every table: each of them must be a mistake, or the file without that table.
    for cut in (whole.index("usd = 20") + 5, whole.index("cascade") + 20, whole.rindex('"')):
        assert run_command("check", write(tmp_path, whole[:cut]), environ=environ).code == 2


def test_a_missing_file_is_a_sentence() -> None:
    ended = run_command("check", "/no/such/penstock.toml")
    assert ended.code == 2
    assert "/no/such/penstock.toml" in ended.err
    assert "Traceback" not in ended.err


def test_without_a_file_it_checks_what_the_environment_says() -> None:
    ended = run_command("check", environ={"ANTHROPIC_API_KEY": KEY})
    assert ended.code == 0
    assert "env:ANTHROPIC_API_KEY" in ended.out
    assert KEY not in ended.out


def test_live_asks_every_target_for_one_token(tmp_path: Path) -> None:
    with local_upstream() as upstream:
        ended = run_command("check", upstream.config(tmp_path), "--live")
        served = upstream.statistics.served()
    assert ended.code == 0
    assert (served.requests, served.output_tokens) == (1, 1)
    assert "answered as gpt-4.1" in ended.out


def test_live_exits_with_1_where_a_target_does_not_answer(tmp_path: Path) -> None:
    with local_upstream(Script((Rule(fault=faults.ModelNotFound()),))) as upstream:
        ended = run_command("check", upstream.config(tmp_path), "--live")
    assert ended.code == 1
    assert "failed" in ended.out


def test_colours_are_shown_in_a_terminal_and_no_color_is_honoured(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    _, coloured = run_in_terminal("check", path, environ={"MY_KEY": KEY})
    _, plain = run_in_terminal("check", path, environ={"MY_KEY": KEY, "NO_COLOR": "1"})
    assert "\x1b[32m" in coloured
    assert "\x1b[32m" not in plain
    assert "\x1b" not in run_command("check", path, environ={"MY_KEY": KEY}).out


def test_a_package_that_a_store_needs_is_named_where_it_is_not_installed(tmp_path: Path) -> None:
    # To Python it is then one that cannot be imported.
    (tmp_path / "sitecustomize.py").write_text('import sys\nsys.modules["coredis"] = None\n')
    toml = GOOD.replace('store = "memory"', 'store = "redis"') + '[ledger]\nstore = "redis"\n'
    ended = run_command("check", write(tmp_path, toml), environ={"MY_KEY": KEY, "PYTHONPATH": str(tmp_path)})
    assert (ended.code, ended.out) == (2, "")
    for place in ("ledger.store", "cache.store"):
        assert f"{place}: \"redis\": needs a package that is not installed: pip install 'penstock[redis]'" in ended.err
