"""`penstock demo`, played fast: every call is accounted for, and what is claimed is worked out from what happened."""

from __future__ import annotations

import os
import re
from collections import Counter
from decimal import Decimal
from pathlib import Path

import attrs
import pytest
from collector import GotSpan, collecting
from commands import run_command, run_in_terminal
from golden import tree_of

from penstock import Kernel, errors
from penstock._events import AttemptEnded, BreakerChanged, CoolingDown
from penstock._snapshot import KernelSnapshot
from penstock.cli._demo.lines import LineView
from penstock.cli._demo.picture import bar, picture
from penstock.cli._demo.run import Books, Moment
from penstock.cli._demo.scenario import BATCH, MAX_TOKENS, TARGETS, make_scenario
from penstock.cli._demo.tally import Ending, Tally
from penstock.cli._demo.verdict import judge
from penstock.policy.budget import Amount
from penstock.testing import AnsweredKernel
from penstock.types import ChatResponse, Message, Usage
from penstock_plugins.rehearsal import Served

README = Path(__file__).resolve().parents[3] / "README.md"
BEGINS = "<!-- recorded: demo -->\n```text\n"
FAST = ("--calls", "60", "--speed", "12")


def count_of(out: str, words: str) -> int:
    """The number at the end of the line that begins so."""
    found = re.search(rf"^{words}.*?([\d,]+)\s*$", out, re.MULTILINE)
    assert found is not None, f"no line begins with {words!r}"
    return int(found[1].replace(",", ""))


def end_of(out: str) -> str:
    """What is left on the screen when it is over."""
    return "".join(f"{line.rstrip()}\n" for line in out[out.index("Who answered") :].splitlines())


def headings(screen: str) -> list[str]:
    """The first line of every paragraph, without its figures."""
    return [re.sub(r"[\d,.$]+", "#", part.splitlines()[0]) for part in screen.strip().split("\n\n")]


def rows(screen: str, heading: str) -> list[str]:
    """The names in the table of that heading."""
    return [line.split()[0] for line in screen[screen.index(heading) :].splitlines()[2:6]]


@pytest.mark.slow
def test_piped_it_tells_plain_lines_and_accounts_for_every_call() -> None:
    ended = run_command("demo", *FAST)
    assert (ended.code, ended.err) == (0, "")
    assert "\x1b" not in ended.out
    last_screen = ended.out[ended.out.index("Every call") :]
    section = last_screen[: last_screen.index("all together")].splitlines()[1:]
    assert sum(int(line.split()[-1]) for line in section) == 60
    assert count_of(ended.out, "all together") == 60
    assert "All 60 calls are accounted for" in ended.out
    assert re.search(r"^\d+ of \d+ attempts failed upstream, \d+ of 60 calls did\.$", ended.out, re.MULTILINE)
    assert "* sonnet is down" in ended.out


@pytest.mark.slow
def test_the_run_in_the_readme_is_one_that_the_demo_of_today_shows() -> None:
    """`PENSTOCK_WRITE_DOCS=1` plays it anew."""
    readme = README.read_text()
    before, _, rest = readme.partition(BEGINS)
    shown, _, after = rest.partition("```\n")
    if os.environ.get("PENSTOCK_WRITE_DOCS"):
        README.write_text(f"{before}{BEGINS}{end_of(run_command('demo').out)}```\n{after}")
        return
    assert count_of(shown, "all together") == 300
    assert max(map(len, shown.splitlines())) <= 80
    section = shown[shown.index("Every call") : shown.index("all together")].splitlines()[1:]
    assert sum(int(line.split()[-1]) for line in section) == 300
    today = end_of(run_command("demo", *FAST).out)
    assert headings(shown) == headings(today)
    assert rows(shown, "Two ledgers") == rows(today, "Two ledgers") == [*TARGETS, "all"]


@pytest.mark.slow
def test_in_the_two_ledgers_nothing_is_served_that_is_not_booked() -> None:
    ended = run_command("demo", *FAST, "--seed", "11")
    lines = ended.out[ended.out.index("Two ledgers") :].splitlines()[2:6]
    assert [line.split()[0] for line in lines] == [*TARGETS, "all"]
    for line in lines:
        booked, served, booked_usd, served_usd = line.replace(",", "").split()[3:]
        assert int(booked) >= int(served)
        assert Decimal(booked_usd) >= Decimal(served_usd)


@pytest.mark.slow
def test_in_a_terminal_it_draws_and_fits_80_columns() -> None:
    code, drawn = run_in_terminal("demo", *FAST)
    assert code == 0
    assert "\x1b[?25l" in drawn, "the cursor is hidden while it draws"
    assert "\x1b[?25h" in drawn, "and shown again"
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn).replace("\r", "\n")
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "calls" in shown
    assert "team/batch" in shown


@pytest.mark.slow
def test_a_terminal_that_cannot_draw_gets_lines() -> None:
    code, drawn = run_in_terminal("demo", *FAST, environ={"TERM": "dumb"})
    assert code == 0
    assert "\x1b" not in drawn
    assert "* sonnet is down" in drawn


@pytest.mark.slow
def test_ctrl_c_ends_it_at_once_and_restores_the_terminal() -> None:
    code, drawn = run_in_terminal("demo", interrupt_at="now")
    assert code == 130
    assert "Traceback" not in drawn
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")


@pytest.mark.slow
def test_without_unicode_it_is_drawn_in_ascii() -> None:
    ended = run_command("demo", *FAST, environ={"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"})
    assert ended.code == 0
    assert ended.out.isascii()
    assert "?" not in ended.out


async def snapshot_of(kernel: Kernel) -> KernelSnapshot:
    return kernel.snapshot()


def test_an_outage_that_passed_between_two_looks_is_told_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    scenario = make_scenario(calls=2, seed=1, concurrency=1, speed=1)
    view = LineView(scenario, every=1.0)
    snapshot = AnsweredKernel([]).run(snapshot_of)
    for elapsed in (0.0, scenario.length, scenario.length):
        view.show(Moment(elapsed, Tally(2, 64, scenario.length / 64), snapshot, {}))
    told = [line.partition("* ")[2] for line in capsys.readouterr().out.splitlines() if "* " in line]
    assert len(told) == len(scenario.turns)
    assert {outage.says for outage in scenario.outages} <= set("; ".join(told).split("; "))


def test_a_scenario_follows_from_its_numbers() -> None:
    one, same, other = (make_scenario(calls=50, seed=seed, concurrency=4, speed=2) for seed in (1, 1, 2))
    assert one == same
    assert one.jobs != other.jobs
    assert one.script("anthropic") == same.script("anthropic")


def test_a_scenario_asks_what_it_says() -> None:
    scenario = make_scenario(calls=400, seed=3, concurrency=16, speed=2)
    assert [job.number for job in scenario.jobs] == list(range(1, 401))
    assert all(0 <= job.at < scenario.length for job in scenario.jobs)
    assert all(len(job.answer.encode()) < 4 * MAX_TOKENS for job in scenario.jobs), "no answer is cut by max_tokens"
    asked_often = [prompt for prompt, count in Counter(job.prompt for job in scenario.jobs).items() if count > 1]
    assert len(asked_often) > 5
    assert any(job.account == BATCH for job in scenario.jobs)
    assert {outage.until_s <= scenario.length for outage in scenario.outages} == {True}


def make_books(**changes: object) -> Books:
    """A run of two calls: one answered by sonnet with a bill, one failed without."""
    tally = Tally(2, 4, 1.0)
    job = make_scenario(calls=1, seed=1, concurrency=1, speed=1).jobs[0]
    message = Message.assistant(job.answer)
    response = ChatResponse(
        message=message, finish_reason="stop", usage=Usage(), cost=None, model="m", target="sonnet", route="default"
    )
    tally.answered(job, response, job.answer, 1.5)
    tally.failed(errors.StreamBrokenError())
    for event in (attempt("ok", 30, 350_000), attempt("truncated", 200, 2_000_000, estimated=True)):
        tally.heard(event, 1.0)
    books = Books(
        elapsed=3.0,
        tally=tally,
        ledger=Amount(230, 2_350_000),
        accounts={BATCH: (2_350_000, 2_350_000)},
        served={"sonnet": Served(input_tokens=20, output_tokens=40), "gpt": Served(), "haiku": Served()},
        events_missed=0,
    )
    return attrs.evolve(books, **changes)  # type: ignore[arg-type]  # fields by name


def attempt(outcome: str, tokens: int, nano_usd: int, *, estimated: bool = False) -> AttemptEnded:
    return AttemptEnded("call", "sonnet", 1, outcome, 0.1, tokens, nano_usd, estimated)


def test_a_verdict_adds_up_both_ledgers() -> None:
    verdict = judge(make_books())
    assert verdict.complaints == ()
    assert dict(verdict.endings) == {
        "answered by sonnet, the 1st choice": 1,
        "failed: the stream ended before its end": 1,
    }
    sonnet = verdict.lines[0]
    assert (sonnet.attempts, sonnet.unbilled, sonnet.booked_tokens, sonnet.served_tokens) == (2, 1, 230, 60)
    # 20 tokens at 3 USD and 40 at 15 USD a million.
    assert sonnet.served_nano == 660_000
    assert verdict.whole.booked_nano == 2_350_000


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"tally": Tally(1, 4, 1.0)}, "not every call"),
        ({"ledger": Amount(231, 2_350_000)}, "tokens are not the sum"),
        ({"ledger": Amount(230, 2_350_001)}, "money is not the sum"),
        ({"accounts": {BATCH: (2, 1)}}, "team/batch spent more than its limit"),
        ({"events_missed": 1}, "1 events were lost"),
        ({"served": {name: Served(input_tokens=100) for name in TARGETS}}, "counted more than was booked"),
    ],
)
def test_a_verdict_complains_where_the_books_do_not_fit(changes: dict[str, object], complaint: str) -> None:
    assert any(complaint in each for each in judge(make_books(**changes)).complaints)


def test_an_answer_that_lacks_a_letter_is_no_answer() -> None:
    books = make_books()
    job = make_scenario(calls=1, seed=1, concurrency=1, speed=1).jobs[0]
    response = ChatResponse(
        message=Message.assistant(""),
        finish_reason="stop",
        usage=Usage(),
        cost=None,
        model="m",
        target="gpt",
        route="default",
        cache="hit",
    )
    books.tally.total += 1
    books.tally.answered(job, response, job.answer[:-1], 1.0)
    assert judge(books).complaints == ("1 answers are not what they had to be",)


def test_attempts_that_failed_upstream_are_counted_by_what_became_of_them() -> None:
    tally = Tally(1, 4, 1.0)
    for outcome in ("ok", "rate_limited", "overloaded", "idle_timeout", "truncated", "cancelled", "ok"):
        tally.heard(attempt(outcome, 1, 1), 1.0)
    assert tally.struck == 4


def test_refusals_and_failures_are_told_apart() -> None:
    tally = Tally(4, 4, 1.0)
    tally.failed(errors.BudgetExceededError(account=BATCH))
    tally.failed(errors.CircuitOpenError())
    tally.failed(errors.ServerError())
    tally.failed(errors.KernelClosedError())
    assert tally.endings == {
        Ending("refused", f"by the budget of {BATCH}"): 1,
        Ending("refused", "no target could take it in time"): 1,
        Ending("failed", "the provider failed"): 1,
        Ending("failed", "KernelClosedError"): 1,
    }


def test_what_calls_in_flight_are_told_one_after_the_other_is_noted_once() -> None:
    tally = Tally(1, 4, 1.0)
    for _ in range(3):
        tally.heard(CoolingDown("target:sonnet", 0.61, "rate_limited"), 1.0)
    tally.heard(BreakerChanged("target:sonnet", "closed", "open", "failures_in_a_row"), 2.0)
    assert [note for _, note in tally.notes] == [
        "sonnet is left alone for 0.6 s (rate_limited)",
        "breaker of sonnet: closed to open (failures_in_a_row)",
    ]


@pytest.mark.parametrize("unicode", [True, False])
def test_the_picture_shows_who_answered_when(unicode: bool) -> None:  # noqa: FBT001 - a parameter of the test
    scenario = make_scenario(calls=2, seed=1, concurrency=1, speed=1)
    tally = Tally(2, 64, scenario.length / 64)
    tally.answers["sonnet"][0] = 4
    tally.answers["gpt"][10] = 1
    rows = {row.label: row for row in picture(scenario, tally, unicode=unicode) if row.label}
    assert rows["sonnet"].cells == ("█" if unicode else "@") + " " * 63
    assert rows["gpt"].cells.strip() == ("▂" if unicode else ":")
    assert rows["gpt"].cells.index("▂" if unicode else ":") == 10
    assert rows["sonnet"].count == "4"
    assert all(len(row.cells) == 64 for row in picture(scenario, tally, unicode=unicode))


def test_a_bar_is_never_wider_than_it_may_be() -> None:
    assert bar(0.5, 10, unicode=False) == "#####....."
    assert bar(7.0, 4, unicode=False) == "####"
    assert bar(-1.0, 4, unicode=False) == "...."


@pytest.mark.slow
def test_its_traces_go_to_a_collector_and_every_one_is_whole() -> None:
    with collecting() as collector:
        ended = run_command("demo", *FAST, "--otlp", collector.url)
    assert ended.code == 0, ended.err
    assert f"The traces went to {collector.url}, under the service penstock-demo." in ended.out
    assert {span.resource["service.name"] for span in collector.spans} == {"penstock-demo"}
    traces: dict[bytes, list[GotSpan]] = {}
    for span in collector.spans:
        traces.setdefault(span.span.trace_id, []).append(span)
    assert len(traces) == 60
    for trace in traces.values():
        call, *attempts = tree_of(trace)
        assert len(attempts) == call["attributes"]["penstock.attempts"]
    reasons = Counter(
        event["reason"] for trace in traces.values() for event in tree_of(trace)[0]["events"] if "reason" in event
    )
    assert len(reasons) >= 2
    assert "gen_ai.client.operation.duration" in collector.latest()


def test_where_no_collector_listens_it_says_so_before_it_begins() -> None:
    ended = run_command("demo", *FAST, "--otlp", "http://127.0.0.1:9")
    assert ended.code == 1
    assert "nothing listens at http://127.0.0.1:9" in ended.err
    assert ended.out == ""


@pytest.mark.slow
def test_a_collector_that_takes_nothing_changes_nothing_of_it() -> None:
    with collecting(500) as collector:
        ended = run_command("demo", *FAST, "--otlp", collector.url)
    assert ended.code == 0, ended.err
    assert ended.err == ""
    assert "All 60 calls are accounted for" in ended.out


def test_an_address_that_is_none_is_refused_before_it_begins() -> None:
    ended = run_command("demo", "--otlp", "localhost:4318")
    assert ended.code != 0
    assert "telemetry.otlp" in ended.err
    assert ended.out == ""


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_what_is_no_finite_number_is_refused(number: str) -> None:
    ended = run_command("demo", "--speed", number)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("Usage:")
    assert f"{number} is not" in ended.err
