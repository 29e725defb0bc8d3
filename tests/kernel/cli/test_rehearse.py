"""`penstock rehearse`: an upstream in the foreground, its scripts, and its books at the end."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import click
import pytest
from commands import Ended, run_command, start

from penstock.cli._rehearsals import NAMES, load_script

PROMPT = "a-question-that-nobody-else-may-read"


def address(greeting: str) -> dict[str, str]:
    """What the printed lines would export."""
    return dict(re.findall(r"(\w+)=(\S+)", greeting))


def rehearse_one_call(*arguments: str) -> tuple[dict[str, str], Ended, Ended]:
    with start("rehearse", "--port", "0", "--latency", "0", *arguments) as running:
        exported = address(running.read_until("ANTHROPIC_BASE_URL"))
        asked = run_command("ask", PROMPT, "--model", "openai/gpt-4.1", environ=exported)
        return exported, asked, running.interrupt()


@pytest.mark.slow
def test_it_serves_what_it_prints_and_shows_its_books_at_ctrl_c() -> None:
    exported, asked, ended = rehearse_one_call()
    assert exported["OPENAI_BASE_URL"].endswith("/v1")
    assert exported["OPENAI_BASE_URL"] == exported["ANTHROPIC_BASE_URL"] + "/v1"
    assert asked.code == 0
    assert (ended.code, ended.err) == (0, "")
    assert re.search(r"s  openai +gpt-4\.1 +whole +200 +9 \+ \d+ tokens", ended.out)
    assert "What the upstream counted" in ended.out
    assert re.search(r"openai +gpt-4\.1 +key-\w+ +1 +1 +0 +9 +\d+", ended.out)


@pytest.mark.slow
def test_what_is_asked_and_answered_is_never_printed() -> None:
    _, asked, ended = rehearse_one_call()
    assert PROMPT not in ended.out
    assert asked.out.strip() not in ended.out


@pytest.mark.slow
def test_a_script_of_ones_own_decides_what_fails(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[[rules]]\nfault = { fault = "invalid-request" }\n')
    _, asked, ended = rehearse_one_call("--script", str(path))
    assert asked.code == 1
    assert "[invalid-request]" in ended.out
    assert "Faults: invalid-request 1." in ended.out


@pytest.mark.slow
def test_a_port_that_is_taken_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run_command("rehearse", "--port", port)
    assert ended.code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.slow
def test_a_script_that_does_not_exist_is_answered_with_the_nearest() -> None:
    ended = run_command("rehearse", "--script", "outrage")
    assert ended.code == 2
    assert "'outage'" in ended.err


@pytest.mark.parametrize("name", NAMES)
def test_every_named_script_can_be_played(name: str) -> None:
    script = load_script(name, seed=5)
    assert script.seed == 5
    assert bool(script.rules) == (name != "calm")


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[[rules]]\nfault = { fault = 'no-such-fault' }", "no-such-fault"),
        ("[[rules]]\nfault = { fault = 'overloaded' }\nprobability = 2", "probability"),
        ("[[rules]\n", "mine.toml"),
        ("rulez = []", "rulez"),
    ],
)
def test_a_mistake_in_a_script_is_named(tmp_path: Path, toml: str, says: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(toml)
    with pytest.raises(click.BadParameter, match=says):
        load_script(str(path))


@pytest.mark.parametrize("content", [b"\xff", None])
def test_a_script_that_cannot_be_read_is_a_sentence(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(click.BadParameter, match=r"mine\.toml"):
        load_script(str(path))


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_what_is_no_finite_number_is_refused(number: str) -> None:
    ended = run_command("rehearse", "--latency", number)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("Usage:")
    assert f"{number} is not" in ended.err
