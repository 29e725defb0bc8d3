"""The demo in plain lines, for what is no terminal: one a second, and one for everything that changes.

Not here: the end (`verdict`).
"""

from __future__ import annotations

import click

from penstock.cli._demo.run import Moment
from penstock.cli._demo.scenario import Scenario

__all__ = ["LineView"]


class LineView:
    """`show` is a Watch. Lines are written as they come: what reads them may be waiting."""

    def __init__(self, scenario: Scenario, *, every: float) -> None:
        self._scenario = scenario
        self._every = every
        self._next = 0.0
        self._looked = 0.0

    def show(self, moment: Moment) -> None:
        """What has changed, and from time to time where things are."""
        self._tell_phases(moment.elapsed)
        while moment.tally.notes:
            at, note = moment.tally.notes.popleft()
            _say(at, f"  {note}")
        if moment.elapsed >= self._next or moment.tally.ended == moment.tally.total:
            self._next = moment.elapsed + self._every
            _say(moment.elapsed, self._standing(moment))

    def _tell_phases(self, elapsed: float) -> None:
        """All that began or ended since the last look, which a busy machine may have kept from coming for long."""
        for turn in self._scenario.turns:
            if self._looked < turn <= elapsed:
                wrong = self._scenario.under_way(turn)
                _say(turn, "* " + ("; ".join(outage.says for outage in wrong) or "all is well upstream"))
        self._looked = elapsed

    def _standing(self, moment: Moment) -> str:
        tally = moment.tally
        unwell = ", ".join(f"{name} {state}" for name, state in moment.states.items() if state != "closed")
        return (
            f"{tally.ended}/{tally.total} calls: {tally.count('answered')} answered,"
            f" {tally.count('cached') + tally.count('shared')} from cache, {tally.count('refused')} refused,"
            f" {tally.count('failed')} failed" + (f" ({unwell})" if unwell else "")
        )


def _say(at: float, words: str) -> None:
    click.echo(f"{at:5.1f} s  {words}")
