"""The command as a whole: help, versions, slips of the keyboard, and how errors become exit codes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from commands import run_command

import penstock
from penstock import errors
from penstock.cli._exits import exit_code

COMMANDS = ("ask", "check", "demo", "explain", "plugins", "rehearse")


@pytest.mark.slow
def test_the_version_is_told() -> None:
    ended = run_command("--version")
    assert (ended.code, ended.out) == (0, f"penstock {penstock.__version__}\n")


@pytest.mark.slow
def test_help_names_every_command_and_shows_examples() -> None:
    ended = run_command("--help")
    assert ended.code == 0
    assert all(f"\n  {name} " in ended.out for name in COMMANDS)
    assert "Examples:\n    penstock demo\n" in ended.out


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(name: str) -> None:
    ended = run_command(name, "--help")
    assert ended.code == 0
    assert f"Examples:\n    penstock {name}" in ended.out
    assert "\b" not in ended.out
    assert all(len(line) <= 80 for line in ended.out.splitlines())


@pytest.mark.slow
def test_a_misspelt_command_is_answered_with_the_nearest() -> None:
    ended = run_command("rehears")
    assert ended.code == 2
    assert ended.out == ""
    assert "There is no command 'rehears'. Did you mean 'rehearse'?" in ended.err


@pytest.mark.slow
def test_an_unknown_option_is_a_usage_error() -> None:
    ended = run_command("ask", "--modle", "x")
    assert ended.code == 2
    assert "--modle" in ended.err
    assert "--model" in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_one_sentence_says_how_to_install_it(missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from penstock.cli import main; main()"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "The penstock command needs its extra: pip install 'penstock[cli]'\n"


@pytest.mark.slow
def test_help_imports_neither_trio_nor_rich() -> None:
    program = (
        "import sys; from penstock.cli._program import run; run(['--help'])\n"
        "sys.exit(', '.join({'trio', 'rich', 'httpx', 'cattrs'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.stderr.strip() == ""


@pytest.mark.parametrize("kind", [errors.RejectedError, *errors.RejectedError.__subclasses__()])
def test_no_refusal_says_by_itself_that_nothing_was_sent(kind: type[errors.RejectedError]) -> None:
    """It may be a retry, a fallback or a repair that was refused."""
    assert "nothing was sent" not in str(kind())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ServerError(), 1),
        (errors.StreamBrokenError(), 1),
        (errors.CascadeExhaustedError(), 1),
        (errors.InvalidRequestError(), 1),
        (errors.ActorFailedError(), 1),
        (errors.ConfigError("x"), 2),
        (errors.PluginLoadError(), 2),
        (errors.NoRouteError(), 2),
        (errors.UnsendableRequestError(), 2),
        (errors.BudgetExceededError(), 3),
        (errors.CircuitOpenError(), 3),
        (errors.OverloadedLocallyError(), 3),
        (errors.BudgetExceededError(attempts=[penstock.Attempt(target="t", number=1, outcome="malformed")]), 1),
        (errors.DeadlineExceededError(), 124),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_exit_codes_say_what_may_be_done_next(error: penstock.PenstockError, code: int) -> None:
    assert exit_code(error) == code
