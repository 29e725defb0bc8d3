"""The ledger on Redis keeps the laws of all stores, on a real Valkey."""

from __future__ import annotations

import pytest
import trio
from redis_stores import by_a_clock_at_hand, by_its_own_clock
from valkey_process import Valkey

from penstock.testing import LEDGER_LAWS, LedgerLaw

OF_TIME = (
    "ended_lease_is_charged_in_full_until_the_truth_comes",
    "renewed_lease_goes_on_and_an_ended_one_revives",
    "step_in_a_window_that_is_over_is_stale",
    "empty_batch_tells_the_time_which_never_goes_back",
)


@pytest.mark.parametrize("law", LEDGER_LAWS, ids=lambda law: law.__name__)
def test_a_ledger_on_redis_keeps_the_law(law: LedgerLaw, valkey: Valkey) -> None:
    trio.run(law, by_a_clock_at_hand(valkey.url))


@pytest.mark.slow
@pytest.mark.parametrize("law", [law for law in LEDGER_LAWS if law.__name__ in OF_TIME], ids=lambda law: law.__name__)
def test_the_servers_own_clock_keeps_the_laws_of_time(law: LedgerLaw, valkey: Valkey) -> None:
    trio.run(law, by_its_own_clock(valkey.url, 0.4))
