"""`penstock explain`: the table at 80 columns, the JSON, the exit codes; nothing is sent and no key is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import KEY, Ended, local_upstream, run_command, run_in_terminal

pytestmark = pytest.mark.slow

PROMPT = "canary of the prompt"
SETTINGS = f"""
[providers.anthropic]
api_key = "{KEY}"
[providers.openai]
api_key = "{KEY}"
[providers.local]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
[defaults]
timeouts = {{ first_token = 20 }}
[routes.default]
cascade = [
  {{ target = "anthropic/claude-sonnet-4-20250514", attempts = 3 }},
  {{ target = "openai/gpt-4o", attempts = 2 }},
  "local/llama-3.3-70b",
]
timeout = 180
[budget]
limits = [{{ per = "day", usd = 20, timezone = "Europe/Berlin" }}]
[cache]
store = "memory"
"""


@pytest.fixture
def settings(tmp_path: Path) -> str:
    path = tmp_path / "penstock.toml"
    path.write_text(SETTINGS)
    return str(path)


def lines_of(ended: Ended) -> list[str]:
    """What is printed, with single spaces."""
    return [" ".join(line.split()) for line in ended.out.splitlines()]


def test_targets_are_told_in_order_with_their_figures(settings: str) -> None:
    ended = run_command("explain", PROMPT, "-c", settings, "--max-tokens", "1000", "--stream")
    assert (ended.code, ended.err) == (0, "")
    lines = lines_of(ended)
    assert lines[:2] == ["Route default", "target when attempts tokens in + out each"]
    assert lines[2].startswith("anthropic/claude-sonnet-4-20250514 now 3 2,")
    assert " + 1,000 $0.0" in lines[2]
    assert lines[3].startswith("openai/gpt-4o now 2 2,")
    assert lines[4] == "local/llama-3.3-70b never 0 - -"
    assert any(line.startswith("local/llama-3.3-70b: never: the price of llama-3.3-70b is not known") for line in lines)
    assert "Begins at once with anthropic/claude-sonnet-4-20250514." in lines
    assert "Where that one takes the request and says nothing, it is left after 20 s." in lines
    assert "Attempts: at most 5; up to 2 more where a kept connection turns out to be dead." in lines
    assert "Time: at most 180 s (the route's timeout)." in lines
    assert any(line.startswith("Cost: at most $0.") for line in lines)
    assert "Cache: not asked (deterministic)." in lines
    assert "Budget: (all) has 20 USD per day (Europe/Berlin)." in lines
    assert KEY not in ended.out
    assert PROMPT not in ended.out


def test_where_the_route_goes_on_from_what_came_a_refused_prefix_is_an_attempt_more(settings: str) -> None:
    text = Path(settings).read_text()
    Path(settings).write_text(text.replace("[routes.default]", '[routes.default]\ncommit = "continue"'))
    lines = lines_of(run_command("explain", PROMPT, "-c", settings, "--stream"))
    says = "Attempts: at most 5; up to 3 more where a kept connection turns out to be dead, or a prefix is refused."
    assert says in lines


def test_in_a_terminal_it_fits_80_columns(settings: str) -> None:
    code, drawn = run_in_terminal("explain", PROMPT, "-c", settings, environ={"TERM": "dumb"})
    assert code == 0
    assert "anthropic/claude-sonnet-4-20250514  now" in drawn
    assert all(len(line) <= 80 for line in drawn.splitlines())


def test_a_whole_answer_that_may_take_all_the_time_is_told(settings: str) -> None:
    lines = lines_of(run_command("explain", PROMPT, "-c", settings, "--timeout", "60"))
    assert "Where that one takes the request and says nothing, it is left after 20 s." in lines
    text = Path(settings).read_text()
    Path(settings).write_text(text.replace("timeouts = {", 'upstream_stream = "never"\ntimeouts = { total = 600,'))
    lines = lines_of(run_command("explain", PROMPT, "-c", settings, "--timeout", "60"))
    assert "Where that one takes the request and says nothing, the whole call's time is gone." in lines
    assert "Time: at most 60 s (--timeout)." in lines


def test_where_nothing_can_be_tried_it_says_so(settings: str) -> None:
    ended = run_command("explain", PROMPT, "-c", settings, "-m", "local/other")
    assert ended.code == 0
    assert "No target can be tried within the deadline: the call would fail, and nothing would be sent." in ended.out
    assert "Cost: at most $0 in all" in ended.out
    assert "Attempts" not in ended.out


def test_without_a_bound_it_names_none(settings: str) -> None:
    free = SETTINGS.replace("usd = 20", "tokens = 1000")
    Path(settings).write_text(free.partition("[budget]")[0])
    ended = run_command("explain", PROMPT, "-c", settings, "-t", "0")
    assert "no bound" in ended.out
    assert "Cost: no bound, or a price is not known." in ended.out
    assert "Cache: none." in ended.out
    assert "Budget: no account on the path has a limit." in ended.out


def test_a_cache_that_would_be_asked_is_told(settings: str) -> None:
    lines = lines_of(run_command("explain", PROMPT, "-c", settings, "-t", "0"))
    assert "Cache: asked before 3 of 3 targets (deterministic)." in lines


def test_json_is_one_object_with_amounts_as_numbers(settings: str) -> None:
    ended = run_command("explain", PROMPT, "-c", settings, "--json", "--stream", "-m", "openai/gpt-4o")
    assert ended.err == ""
    told = json.loads(ended.out)
    assert [stage["target"] for stage in told["stages"]] == ["openai/gpt-4o"]
    assert told["stages"][0]["when"] == {"reason": "ready", "ready_in": 0.0, "says": "now", "scope": None}
    assert told["stages"][0]["timeouts"]["first_token"] == 20
    assert told["cost"] == pytest.approx(told["nano_usd"] / 1e9)
    assert told["stages"][0]["cost"] == pytest.approx(told["dearest"])
    assert (told["attempts"], told["seconds"], told["deadline_from"]) == (4, 600.0, "kernel")
    assert KEY not in ended.out
    assert PROMPT not in ended.out


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_the_prompt_may_come_from_stdin(settings: str, arguments: tuple[str, ...]) -> None:
    short, long = (
        json.loads(run_command("explain", *arguments, "-c", settings, "--json", stdin="x" * size).out)
        for size in (10, 10_000)
    )
    assert long["stages"][0]["input_tokens"] == short["stages"][0]["input_tokens"] + 9_990


def test_nothing_is_sent() -> None:
    with local_upstream() as upstream:
        ended = run_command("explain", PROMPT, environ=upstream.environ)
        assert ended.code == 0
        assert "openai/gpt-4.1" in ended.out
        assert upstream.statistics.served().requests == 0


@pytest.mark.parametrize(
    "arguments",
    [("--route", "nowhere"), ("--model", "nobody/model"), ("--config", "/no/such/file.toml"), ("--timeout", "nan")],
    ids=lambda arguments: arguments[0],
)
def test_wrong_usage_and_configuration_exit_with_2(settings: str, arguments: tuple[str, ...]) -> None:
    ended = run_command("explain", "hello", "-c", settings, *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err
    assert "Traceback" not in ended.err


def test_with_json_a_mistake_is_an_object_on_stderr(settings: str) -> None:
    ended = run_command("explain", "hello", "-c", settings, "--json", "--route", "nowhere")
    assert (ended.code, ended.out) == (2, "")
    assert json.loads(ended.err)["error"]["kind"] == "no_route"
