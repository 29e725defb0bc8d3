"""Every fault the rehearsal upstream knows x complete, stream x alone, with a fallback x every commit policy.

What each cell must come to is written in `fault_table`; how one is made, and what holds of all of them, in
`fault_cells`. What the run found is printed into `FAULTS.md` where PENSTOCK_WRITE_DOCS=1, and compared with it
otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from fault_cells import COMMITS, MODES, ROUTES, WIRES, Cell, Told, run_cell
from fault_document import document
from fault_table import ROWS, Row, expected
from soak import SOAK

from penstock_plugins.rehearsal import faults

DOCUMENT = Path(__file__).parent / "FAULTS.md"
EPSILON = 1e-6
WRITE = bool(os.environ.get("PENSTOCK_WRITE_DOCS"))
KINDS = [[name for name, row in ROWS.items() if type(row.fault) is kind] for kind in faults.ALL]
FEW = {kind[len(kind) // 2] for kind in KINDS} | {"408", "cut", "rate limit, after content"}
"""An ordinary run tries one of each kind, the middle one, and those by which planted bugs are caught."""
TRIED = ROWS if SOAK or WRITE else {name: row for name, row in ROWS.items() if name in FEW}

pytestmark = pytest.mark.slow


def cells(row: Row) -> Iterator[Cell]:
    """Nobody watches a `complete`: of the policies only `continue` can differ, where it streams upstream by itself.

    The full run tries them all where the answer comes whole, too.
    """
    for mode in MODES:
        all_differ = mode == "stream" or (mode == "complete" and SOAK)
        commits = tuple(COMMITS) if all_differ else ("first_content", "continue")
        for route in ROUTES:
            for wire in WIRES:
                yield from (Cell(row.fault, mode, route, commit, wire, row.max_tokens) for commit in commits)


@cache
def found(cell: Cell) -> Told:
    """The document needs what the tests before it have seen."""
    return run_cell(cell)


@pytest.mark.parametrize("name", TRIED, ids=[name.replace(",", "").replace(" ", "-") for name in TRIED])
def test_a_fault_comes_to_what_is_written(name: str) -> None:
    row = ROWS[name]
    for cell in cells(row):
        wanted, told = expected(row, cell), found(cell)
        assert (told.attempts, told.end, told.shown, told.usage) == (
            wanted.attempts,
            wanted.end,
            wanted.shown,
            wanted.usage,
        ), cell
        assert wanted.at_least - EPSILON <= told.seconds <= wanted.at_most + EPSILON, cell


def test_no_fault_is_left_out() -> None:
    assert {type(row.fault) for row in TRIED.values()} == set(faults.ALL)
    assert sum(len(kind) for kind in KINDS) == len(ROWS)


def test_the_table_in_the_documents_is_what_was_found() -> None:
    written = document({name: [(cell, found(cell)) for cell in cells(row)] for name, row in TRIED.items()})
    if WRITE:
        DOCUMENT.write_text(written, encoding="utf-8")
    there = DOCUMENT.read_text(encoding="utf-8").splitlines()
    left_out = [line for line in there if line.startswith("| ") and _name(line) in ROWS.keys() - TRIED.keys()]
    assert [line for line in there if line not in left_out] == written.splitlines(), "PENSTOCK_WRITE_DOCS=1 writes it"
    assert {_name(line) for line in there} >= ROWS.keys()


def _name(line: str) -> str:
    return line.split(" | ", maxsplit=1)[0].removeprefix("| ")
