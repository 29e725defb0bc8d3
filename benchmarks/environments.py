"""Environments of the peers: built once each, beside the checkout, and again for other pins or another Python."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

from benchmarks.roster import Environment

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".venv-benchmarks"
"""Ignored by git."""
PATIENCE_S = 900.0
"""For one environment: some bring sixty packages."""


class NotInstalledError(Exception):
    """A peer cannot be had here; the message is the installer's last word."""


def python_of(environment: Environment) -> Path:
    """Its interpreter, once everything is installed. Raises NotInstalledError."""
    folder = FOLDER / environment.name
    stamp, python = folder / "pins", folder / "bin" / "python"
    wanted = "\n".join((f"python {platform.python_version()}", *environment.pins))
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"installing {', '.join(environment.pins)}", file=sys.stderr, flush=True)
    stamp.unlink(missing_ok=True)
    ran([sys.executable, "-m", "venv", "--clear", str(folder)])
    ran([str(python), "-m", "pip", "install", "-q", *environment.pins])
    stamp.write_text(wanted)
    return python


def ran(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"not done within {PATIENCE_S:g} s") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise NotInstalledError(said[-1] if said else f"exit code {done.returncode}")
