"""The `penstock` command. Not here: any library interface; what the command does, `import penstock` does too.

Nothing but the standard library is imported before it is known that the extra `cli` is installed.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import NoReturn

__all__ = ["main"]

NEEDS = ("click", "rich")


def main() -> NoReturn:
    """Runs the command with the arguments of the process, and exits."""
    if any(find_spec(package) is None for package in NEEDS):
        sys.exit("The penstock command needs its extra: pip install 'penstock[cli]'")
    try:
        from penstock.cli._program import run  # noqa: PLC0415  # it imports click

        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:
        # While it was still importing, or about to exit.
        sys.exit(130)
