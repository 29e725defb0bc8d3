"""The benchmark runs from end to end, at sizes so small that its figures mean nothing, and writes what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[1]
ROWS = ("floor", "penstock_guards", "penstock_telemetry")
OURS = "penstock_guards"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the upstream of the benchmarks is built on epoll"),
]


class Run(NamedTuple):
    """What a run left."""

    figures: dict[str, Any]
    table: str
    picture: str


def benchmark(folder: Path, *, sections: str) -> Run:
    """A run of one round. Whether the machine was quiet enough is no question here: it may be void."""
    command = [sys.executable, "-m", "benchmarks", "--rounds", "1", "--calls", "4", "--rows", ",".join(ROWS)]
    done = subprocess.run(
        [*command, "--sections", sections, "--out", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    figures = json.loads((folder / "figures.json").read_text())
    assert (done.returncode == 1) == bool(figures["void"]), done.stderr
    return Run(figures, (folder / "figures.txt").read_text(), (folder / "calls.svg").read_text())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return benchmark(tmp_path_factory.mktemp("figures"), sections="calls,streams,hits,budgets,imports,values")


@pytest.mark.slow
def test_every_row_says_what_it_does_and_with_which_versions(run: Run) -> None:
    rows = run.figures["rows"]
    assert set(rows) == set(ROWS)
    assert rows["floor"]["versions"].keys() == {"python", "h11", "trio"}
    assert "no guards" in rows["floor"]["does"]
    assert rows[OURS]["status"] == rows["floor"]["status"] == "measured"


def test_what_telemetry_costs_is_measured_beside_the_rest(run: Run) -> None:
    assert run.figures["rows"]["penstock_telemetry"]["status"] == "measured"
    assert "penstock_telemetry" in run.figures["sections"]["calls"]["rows"]


def test_a_call_of_every_row_is_measured_at_each_concurrency(run: Run) -> None:
    calls = run.figures["sections"]["calls"]
    for row in ("floor", OURS):
        assert [*calls["rows"][row]] == ["1", "32", "256"]
        assert all(seen["cpu_us"] > 0 and seen["upstream_us"] > 0 for seen in calls["rows"][row].values())
    assert calls["upstream"]["saturated_us"] > 0


def test_streams_come_in_every_kind_on_both_wires_and_under_every_commit_policy(run: Run) -> None:
    columns = run.figures["sections"]["streams"]["rows"][OURS]
    assert {"burst openai", "framed anthropic", "paced openai", "burst openai, continue"} <= columns.keys()


def test_what_the_ledger_in_memory_adds_to_a_call_is_told_at_each_concurrency(run: Run) -> None:
    assert [*run.figures["sections"]["budgets"]["adds_us"]] == ["1", "32", "256"]
    assert "the ledger in memory adds" in run.table


def test_import_starts_no_thread_and_asks_nothing_of_the_network(run: Run) -> None:
    imports = run.figures["sections"]["imports"]
    assert (imports["threads"], imports["network"]) == (0, [])
    assert imports["ratio"] <= 1.3


def test_what_a_value_takes_is_measured_and_shown(run: Run) -> None:
    values = run.figures["sections"]["values"]
    assert values["value_us"] > 0
    assert min(values["hostile_ms"].values()) > 0
    assert "hostile text" in run.table
    assert "partial values" in run.table


def test_every_goal_says_what_was_seen_and_what_it_is_held_against(run: Run) -> None:
    goals = {goal["name"]: goal for goal in run.figures["goals"]}
    assert "cache hit from memory, us" in goals
    floor = run.figures["sections"]["calls"]["rows"]["floor"]["32"]["cpu_us"]
    guarded = goals["guarded call at 32, us: at most 1.8 x the floor"]
    assert guarded["bound"] == pytest.approx(1.8 * floor)
    assert guarded["met"] == (guarded["seen"] <= guarded["bound"])


def test_the_table_shows_every_row_and_every_goal_that_is_missed(run: Run) -> None:
    assert "floor: h11 on a trio socket" in run.table
    for goal in run.figures["goals"]:
        assert goal["met"] or goal["name"] in run.table


def test_the_picture_has_two_bars_for_each_row_that_was_measured(run: Run) -> None:
    rectangles = ET.fromstring(run.picture).findall("{http://www.w3.org/2000/svg}rect")
    background, legend, bars = 1, 2, 2 * len(ROWS)
    assert len(rectangles) == background + legend + bars


def said_by(program: str) -> str:
    """What a program in the benchmarks' own surroundings prints."""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_floor_imports_nothing_of_penstock() -> None:
    program = "import sys, benchmarks.rows.floor; print([name for name in sys.modules if name.startswith('penstock')])"
    assert said_by(program) == "[]"


@pytest.mark.parametrize(
    ("floor_us", "times_faster", "reasons"),
    [(140, 3.1, 0), (150, 3.1, 1), (140, 2.9, 1), (150, 2.9, 2)],
    ids=["a quiet machine", "a busy machine", "a slow upstream", "both"],
)
def test_a_run_is_void_on_a_busy_machine_or_a_slow_upstream(floor_us: int, times_faster: float, reasons: int) -> None:
    table = {row: {"32": {"cpu_us": cost}} for row, cost in (("raw", 40), ("floor", floor_us))}
    upstream = {"times_faster": times_faster, "fastest_client": "raw"}
    program = f"from benchmarks.sections.calls import void; print(len(void({table}, {upstream})))"
    assert said_by(program) == str(reasons)


@pytest.mark.parametrize(
    ("seen", "shown", "before"),
    [("[[]]", [], []), ("[['busy'], []]", [], [["busy"]]), ("[['a'], ['b'], ['c']]", ["c"], [["a"], ["b"]])],
    ids=["at once", "the second time", "never"],
)
def test_calls_that_do_not_count_are_measured_again_and_all_that_was_wrong_is_told(
    seen: str, shown: list[str], before: list[list[str]]
) -> None:
    program = f"""
import json
from benchmarks.sections.calls import until_it_counts
seen = iter({seen})
figures = until_it_counts(lambda: {{"void": next(seen)}}, 3)
print(json.dumps([figures["void"], figures["void_before"], list(seen)]))
"""
    assert json.loads(said_by(program)) == [shown, before, []]
