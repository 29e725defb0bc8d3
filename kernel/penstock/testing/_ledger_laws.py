"""The laws of `LedgerStore`, each a function that takes a maker: run them against your own store.

```python
@pytest.mark.parametrize("law", LEDGER_LAWS, ids=lambda law: law.__name__)
def test_my_store_keeps_the_law(law: LedgerLaw) -> None:
    trio.run(law, make_my_store)
```
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from penstock.testing import (
    _ledger_adoption_laws,
    _ledger_estimate_laws,
    _ledger_hold_laws,
    _ledger_record_laws,
    _ledger_room_laws,
    _ledger_time_laws,
)
from penstock.testing._ledger_bench import LedgerAtHand, MakeLedger

__all__ = ["LEDGER_LAWS", "LedgerAtHand", "LedgerLaw", "MakeLedger", "check_ledger"]

LedgerLaw: TypeAlias = Callable[[MakeLedger], Awaitable[None]]
"""Raises BrokenLawError where a store does not keep it."""

LEDGER_LAWS: tuple[LedgerLaw, ...] = tuple(
    getattr(laws, name)
    for laws in (
        _ledger_adoption_laws,
        _ledger_room_laws,
        _ledger_hold_laws,
        _ledger_estimate_laws,
        _ledger_time_laws,
        _ledger_record_laws,
    )
    for name in laws.__all__
)


async def check_ledger(make: MakeLedger) -> None:
    """Checks a ledger store against all laws, one after the other, each with an empty store of its own.

    Raises BrokenLawError where one does not hold.
    """
    for law in LEDGER_LAWS:
        await law(make)
