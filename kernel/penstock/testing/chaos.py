"""Chaos: faults by a seed, on a virtual clock, against your own configuration.

    from penstock.testing.chaos import Chaos

    chaos = Chaos(seed=7).at("sonnet", "rate_limit", first=3).between(10, 40, "silence", target="openai")
    run = chaos.against("penstock.toml")
    assert run.run(my_app) == "the answer"
    assert run.ledger.served().requests < 10

Only a door: what is behind it plays the rehearsal upstream, which is a plugin, and stands with it.
"""

from penstock_plugins.rehearsal.chaos import Chaos as Chaos
from penstock_plugins.rehearsal.chaos import ChaosKernel as ChaosKernel
from penstock_plugins.rehearsal.chaos import Exchanged as Exchanged
from penstock_plugins.rehearsal.chaos import Strike as Strike
