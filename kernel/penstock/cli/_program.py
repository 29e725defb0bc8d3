"""The command and its subcommands: found by name, imported when used, and every way to end turned into an exit code.

Not here: what a subcommand does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import click

import penstock
from penstock._nearest import nearest
from penstock.cli._exits import BROKEN_PIPE, FAILED, INTERRUPTED, OK, USAGE, exit_code
from penstock.cli._tell import tell
from penstock.errors import PenstockError

__all__ = ["run"]


class _Entry(NamedTuple):
    module: str
    attribute: str
    says: str


COMMANDS = {
    "ask": _Entry("penstock.cli._ask", "ask", "Ask once; the answer goes to stdout."),
    "budget": _Entry("penstock.cli._budget", "budget", "See, change and report what accounts may spend."),
    "cache": _Entry("penstock.cli._cache", "cache", "See what the cache holds, why not, and empty it."),
    "check": _Entry("penstock.cli._check", "check", "Check a configuration; tell all mistakes at once."),
    "demo": _Entry("penstock.cli._demo", "demo", "Watch calls survive an outage, without keys or network."),
    "explain": _Entry("penstock.cli._explain", "explain", "Tell what a call would do and cost; nothing is sent."),
    "plugins": _Entry("penstock.cli._plugins", "plugins", "List what is installed, and what is wrong with it."),
    "rehearse": _Entry("penstock.cli._rehearse", "rehearse", "Be a provider with outages, for your app to survive."),
    "top": _Entry("penstock.cli._top", "top", "Watch a running kernel, live."),
}


class _Program(click.Group):
    """Subcommands are imported when they are run: `--help` of the whole needs only the table above."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = getattr(import_module(entry.module), entry.attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = nearest(name, COMMANDS)
            ctx.fail(f"There is no command {name!r}." + (f" Did you mean {near!r}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.says) for name, entry in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        # Here and not around `main`: click would turn an interrupt and a broken pipe into codes of its own.
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            ctx.exit(BROKEN_PIPE)
        except PenstockError as error:
            tell(str(error))
            ctx.exit(exit_code(error))
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except BaseExceptionGroup as group:
            # Of a nursery of the command's own.
            if group.subgroup(KeyboardInterrupt):
                ctx.exit(INTERRUPTED)
            if group.subgroup(BrokenPipeError):
                ctx.exit(BROKEN_PIPE)
            raise


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if value and not ctx.resilient_parsing:
        click.echo(f"penstock {penstock.__version__}")
        ctx.exit()


@click.group(
    cls=_Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="See what it is for: penstock demo. Options of a command: penstock COMMAND --help.",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Tell the version.")
def program() -> None:
    """Dependable calls to LLMs: retried, routed, budgeted, cached.

    \b
    Examples:
      penstock demo
      penstock ask "Name the moons of Mars."
      penstock explain "Name the moons of Mars."
      penstock check penstock.toml --live
      penstock rehearse --script outage
    """  # noqa: D301 - click reads the escape


def run(arguments: Sequence[str]) -> int:
    """Runs the command and returns its exit code. Nothing that a user can do leads to a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows a question mark; it does not end the command.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    try:
        code = program.main(list(arguments), prog_name="penstock", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return USAGE if isinstance(error, click.UsageError) else FAILED
    except click.Abort:
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return BROKEN_PIPE
    if code == BROKEN_PIPE:
        _forget_stdout()
    return code if isinstance(code, int) else OK


def _forget_stdout() -> None:
    """Nobody reads it: what is still in its buffer must not be tried once more when Python exits."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
