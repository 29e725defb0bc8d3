"""`penstock ask` against an upstream on loopback: answers, streams, JSON, and every exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import KEY, Ended, local_upstream, run_command, run_in_terminal, start

from penstock_plugins.rehearsal import Rule, Script, faults

pytestmark = pytest.mark.slow

SAYING = "[[say The lake is deep.]]"


def ask(*arguments: str, script: Script | None = None, stdin: str | bytes = b"") -> Ended:
    """Asks an upstream that is there for this question alone."""
    with local_upstream(script) as upstream:
        return run_command("ask", *arguments, stdin=stdin, environ=upstream.environ)


def always(fault: faults.Fault) -> Script:
    return Script((Rule(fault=fault),))


def test_the_answer_and_nothing_else_goes_to_stdout() -> None:
    ended = ask(SAYING)
    assert ended == Ended(0, "The lake is deep.\n", "")


def test_a_stream_says_the_same() -> None:
    assert ask("--stream", SAYING) == Ended(0, "The lake is deep.\n", "")


def test_verbose_tells_who_answered_on_stderr() -> None:
    ended = ask("-v", SAYING)
    assert ended.out == "The lake is deep.\n"
    assert "answered by openai/gpt-4.1 (openai/gpt-4.1: ok)" in ended.err
    assert "$" in ended.err


def test_with_a_schema_the_value_that_was_checked_goes_to_stdout(tmp_path: Path) -> None:
    schema = tmp_path / "lake.json"
    schema.write_text('{"type": "object", "properties": {"deep": {"type": "boolean"}}, "required": ["deep"]}')
    saying = "[[say Sure: {'deep': True,}]]"
    assert ask("--schema", str(schema), saying) == Ended(0, '{"deep":true}\n', "")
    assert ask("--schema", str(schema), "--stream", saying).out.splitlines()[-1] == '{"deep":true}'


def test_with_a_schema_json_tells_everything_about_the_answer_and_the_value_in_it(tmp_path: Path) -> None:
    schema = tmp_path / "lake.json"
    schema.write_text('{"type": "object", "properties": {"deep": {"type": "boolean"}}, "required": ["deep"]}')
    answer = json.loads(ask("--schema", str(schema), "--json", SAYING).out)
    assert answer["value"] == {"deep": True}
    assert answer["text"] == '{"deep":true}'
    assert [attempt["outcome"] for attempt in answer["attempts"]] == ["ok"]
    streamed = ask("--schema", str(schema), "--json", "--stream", SAYING).out
    *growing, finished = [json.loads(line) for line in streamed.splitlines()]
    assert growing[-1] == {"type": "growing", "value": {"deep": True}}
    assert (finished["type"], finished["value"]) == ("finished", {"deep": True})
    assert answer.keys() - {"text"} == finished.keys() - {"type"}


@pytest.mark.parametrize("options", [(), ("--json",), ("--stream",), ("--json", "--stream")], ids=" ".join)
def test_json_is_escaped_where_the_terminal_has_no_letters_for_it(tmp_path: Path, options: tuple[str, ...]) -> None:
    schema = tmp_path / "city.json"
    listed = {"city": {"enum": ["Röme 🏛"]}}
    schema.write_text(json.dumps({"type": "object", "properties": listed, "required": ["city"]}))
    with local_upstream(None) as upstream:
        environ = upstream.environ | {"PYTHONIOENCODING": "ascii"}
        ended = run_command("ask", "--schema", str(schema), *options, SAYING, environ=environ)
    assert ended.code == 0
    told = json.loads(ended.out.splitlines()[-1])
    assert (told["value"] if "--json" in options else told) == {"city": "Röme 🏛"}


def test_a_type_that_stands_in_a_class_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "lakes.py").write_text(
        "import dataclasses\nclass Lakes:\n    @dataclasses.dataclass\n    class Lake:\n        deep: bool\n"
    )
    with local_upstream(None) as upstream:
        environ = upstream.environ | {"PYTHONPATH": str(tmp_path)}
        ended = run_command("ask", "--schema", "lakes:Lakes.Lake", SAYING, environ=environ)
    assert ended == Ended(0, '{"deep":true}\n', "")
    missing = ask("--schema", "json:Lakes.Lake", SAYING)
    assert (missing.code, missing.out) == (2, "")
    assert "json:Lakes.Lake cannot be imported: AttributeError" in missing.err


def test_json_tells_where_an_answer_is_not_valid(tmp_path: Path) -> None:
    schema = tmp_path / "lake.json"
    schema.write_text('{"type": "object", "required": ["deep"]}')
    for streamed in ((), ("--stream",)):
        ended = ask("--schema", str(schema), "--json", *streamed, "[[say {}]]")
        told = json.loads(ended.err)["error"]
        assert (told["kind"], told["paths"], told["exit_code"]) == ("output_invalid", ["$.deep"], 1)
        assert [attempt["outcome"] for attempt in told["attempts"]] == ["output_invalid"] * 3


def test_an_answer_that_does_not_become_the_type_is_a_failure_that_says_where(tmp_path: Path) -> None:
    schema = tmp_path / "lake.json"
    schema.write_text('{"type": "object", "required": ["deep"]}')
    ended = ask("--schema", str(schema), "[[say {}]]")
    assert (ended.code, ended.out) == (1, "")
    assert "$.deep" in ended.err


def test_a_schema_that_is_none_is_wrong_usage() -> None:
    ended = ask("--schema", "nowhere.json", SAYING)
    assert ended.code == 2
    assert "there is no file nowhere.json" in ended.err


def test_json_is_one_object_with_everything_about_the_answer() -> None:
    ended = ask("--json", SAYING)
    answer = json.loads(ended.out)
    assert answer["text"] == "The lake is deep."
    assert answer["finish_reason"] == "stop"
    assert answer["target"] == "openai/gpt-4.1"
    assert answer["usage"]["total_tokens"] == answer["usage"]["input_tokens"] + answer["usage"]["output_tokens"]
    assert 0 < answer["cost"] < 1
    assert [attempt["outcome"] for attempt in answer["attempts"]] == ["ok"]
    assert {"model", "cache", "id", "route"} <= answer.keys()


def test_a_json_stream_is_one_object_a_line_and_ends_with_the_summary() -> None:
    ended = ask("--json", "--stream", SAYING)
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert "".join(line["text"] for line in lines if line["type"] == "text") == "The lake is deep."
    assert [line["type"] for line in lines].count("finished") == 1
    assert lines[-1]["type"] == "finished"
    assert lines[-1]["attempts"][0]["outcome"] == "ok"


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_the_prompt_may_come_from_stdin(arguments: tuple[str, ...]) -> None:
    assert ask(*arguments, stdin=f"{SAYING}\n").out == "The lake is deep.\n"


def test_what_is_piped_in_follows_the_prompt_after_a_blank_line() -> None:
    # Both are one message of 4 + 2 + 6 bytes: what the upstream counts as 3 tokens.
    with local_upstream() as upstream:
        ended = run_command("ask", "--json", "four", stdin="sixsix\n", environ=upstream.environ)
    assert json.loads(ended.out)["usage"]["input_tokens"] == 3


@pytest.mark.parametrize("stdin", [b"", b"\n\n"])
def test_nothing_to_ask_is_a_usage_error(stdin: bytes) -> None:
    ended = run_command("ask", stdin=stdin)
    assert ended.code == 2
    assert "Nothing to ask" in ended.err


def test_bytes_that_are_no_text_are_a_usage_error() -> None:
    ended = run_command("ask", stdin=b"caf\xe9")
    assert ended.code == 2
    assert "not UTF-8 text (at byte 3)" in ended.err


def test_a_terminal_without_a_prompt_is_not_waited_for() -> None:
    code, drawn = run_in_terminal("ask")
    assert code == 2
    assert "Nothing to ask" in drawn


def test_a_providers_refusal_exits_with_1_and_its_own_sentence() -> None:
    ended = ask("hello", script=always(faults.InvalidRequest()))
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("penstock: ")
    assert "Traceback" not in ended.err


def test_a_stream_that_breaks_leaves_what_came_and_exits_with_1() -> None:
    ended = ask(
        "--stream", "[[say one two three four five six seven]]", script=always(faults.CutStream(after_chunks=3))
    )
    assert ended.code == 1
    assert ended.out == "one two three \n"
    assert "broke" in ended.err


def test_with_json_the_error_is_an_object_on_stderr() -> None:
    ended = ask("--json", "hello", script=always(faults.InvalidRequest()))
    assert (ended.code, ended.out) == (1, "")
    error = json.loads(ended.err)["error"]
    assert error["kind"] == "invalid_request"
    assert error["exit_code"] == 1
    assert error["attempts"][0]["outcome"] == "invalid_request"


@pytest.mark.parametrize(
    "arguments",
    [("--route", "nowhere"), ("--model", "nobody/model"), ("--config", "/no/such/file.toml"), ("--timeout", "nan")],
    ids=lambda arguments: arguments[0],
)
def test_wrong_usage_and_configuration_exit_with_2(arguments: tuple[str, ...]) -> None:
    ended = ask("hello", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "Traceback" not in ended.err


def test_nothing_configured_says_what_to_set() -> None:
    ended = run_command("ask", "hello")
    assert ended.code == 2
    assert "OPENAI_API_KEY" in ended.err
    assert "ANTHROPIC_API_KEY" in ended.err


def test_a_budget_that_refuses_exits_with_3_and_nothing_is_sent(tmp_path: Path) -> None:
    with local_upstream() as upstream:
        config = upstream.config(tmp_path, "[budget]\nlimits = [{ per = 'day', tokens = 10 }]\n")
        ended = run_command("ask", "hello", "--config", config)
        assert upstream.statistics.served().requests == 0
    assert (ended.code, ended.out) == (3, "")
    assert "10 tokens per day" in ended.err


def test_a_budget_that_refuses_another_attempt_exits_with_1_for_one_was_sent(tmp_path: Path) -> None:
    with local_upstream(always(faults.CutStream())) as upstream:
        budget = "[budget]\nlimits = [{ per = 'day', tokens = 4000 }]\nhold_wait = 0.1\n"
        config = upstream.config(tmp_path, budget)
        Path(config).write_text(Path(config).read_text().replace("attempts = 1", "attempts = 3"))
        ended = run_command("ask", "hello", "--max-tokens", "1000", "--json", "--config", config)
        assert upstream.statistics.served().requests == 1
    error = json.loads(ended.err)["error"]
    assert (ended.code, error["exit_code"], error["kind"]) == (1, 1, "budget_exceeded")
    assert len(error["attempts"]) == 1
    assert "nothing was sent" not in error["message"]


def test_a_call_whose_time_is_up_exits_with_124() -> None:
    ended = ask("hello", "--timeout", "0.3", script=always(faults.SilentBeforeHead()))
    assert (ended.code, ended.out) == (124, "")


def test_ctrl_c_exits_with_130_and_says_nothing() -> None:
    silent = always(faults.SilentAfterHead())
    with local_upstream(silent) as upstream, start("ask", "hello", environ=upstream.environ) as running:
        while upstream.statistics.status(200) == 0:
            assert running.process.poll() is None
        ended = running.interrupt()
    assert ended == Ended(130, "", "")


def test_a_reader_that_leaves_ends_it_quietly() -> None:
    with local_upstream() as upstream:
        ours, theirs = os.pipe()
        os.close(ours)
        ended = subprocess.run(
            [sys.executable, "-m", "penstock.cli", "ask", "--stream", "[[words 4000]]"],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.PIPE,
            env={**os.environ, **upstream.environ},
            check=False,
        )
        os.close(theirs)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_what_a_model_writes_cannot_take_over_the_terminal() -> None:
    with local_upstream() as upstream:
        environ = upstream.environ
        code, drawn = run_in_terminal("ask", "[[say red \x1bc\x07 alert]]", environ=environ)
        piped = run_command("ask", "[[say red \x1bc\x07 alert]]", environ=environ)
    assert code == 0
    assert "red" in drawn
    assert "\x1bc" not in drawn
    assert piped.out == "red \x1bc\x07 alert\n"


def test_an_answer_cut_by_max_tokens_is_told_on_stderr() -> None:
    ended = ask("--max-tokens", "3", "[[say one two three four five six]]")
    assert ended.code == 0
    assert ended.out == "one two thre\n"
    assert "max_tokens" in ended.err


def test_no_key_is_ever_shown(tmp_path: Path) -> None:
    with local_upstream(always(faults.WrongKey())) as upstream:
        config = upstream.config(tmp_path)
        shown = [
            run_command("ask", "hello", "--config", config),
            run_command("ask", "hello", "--json", "--config", config),
            run_command("check", config, "--live"),
        ]
    assert [ended.code for ended in shown] == [1, 1, 1]
    assert all(KEY not in ended.out + ended.err for ended in shown)
