"""The scripts of `penstock rehearse`: named ones, which lie beside this file as data, and files of one's own.

Not here: what a rule or a fault is (`penstock_plugins.rehearsal`).
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click
import msgspec

from penstock._nearest import did_you_mean
from penstock_plugins.rehearsal import Script

__all__ = ["NAMES", "load_script"]

NAMES = ("calm", "flaky", "outage", "ratelimit", "cutstreams")


def load_script(named: str, *, seed: int | None = None) -> Script:
    """The script of that name, else of that file. Raises BadParameter that says what is wrong with it."""
    script = _parse(_read(named), named)
    return script if seed is None else msgspec.structs.replace(script, seed=seed)


def _read(named: str) -> str:
    if named in NAMES:
        return files("penstock.cli").joinpath("rehearsals", f"{named}.toml").read_text(encoding="utf-8")
    path = Path(named)
    if not path.suffix and not path.exists():
        raise click.BadParameter(f"There is no script named {named!r}{did_you_mean(named, NAMES)}, or a file.")
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise click.BadParameter(f"{named} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise click.BadParameter(f"{named} is not UTF-8 text.") from None


def _parse(toml: str, named: str) -> Script:
    try:
        return Script.parse(toml)
    except ValueError as error:
        raise click.BadParameter(f"{named}: {error}") from None
