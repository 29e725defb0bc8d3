"""For the tests of apps and plugins: fakes that keep the real thing's laws, and the laws as functions.

Nothing here needs pytest or a network. What opens a kernel is imported when it is asked for. The fixture
`penstock_kernel` makes an AnsweredKernel; faults by a seed are `penstock.testing.chaos`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from penstock.testing._cache_laws import check_cache_store as check_cache_store
from penstock.testing._cache_store import FakeCacheStore as FakeCacheStore
from penstock.testing._laws import BrokenLawError as BrokenLawError
from penstock.testing._laws import check_provider as check_provider
from penstock.testing._scripted import Answer as Answer
from penstock.testing._scripted import Broken as Broken
from penstock.testing._scripted import Reply as Reply
from penstock.testing._scripted import ScriptedTransport as ScriptedTransport
from penstock.testing._scripted import Silence as Silence

if TYPE_CHECKING:
    from penstock.testing._answered import AnsweredKernel as AnsweredKernel
    from penstock.testing._answered import PenstockKernel as PenstockKernel
    from penstock.testing._answers import OutOfAnswersError as OutOfAnswersError
    from penstock.testing._answers import UnusedAnswersError as UnusedAnswersError
    from penstock.testing._keyless import keyless as keyless
    from penstock.testing._ledger_laws import LEDGER_LAWS as LEDGER_LAWS
    from penstock.testing._ledger_laws import LedgerAtHand as LedgerAtHand
    from penstock.testing._ledger_laws import LedgerLaw as LedgerLaw
    from penstock.testing._ledger_laws import MakeLedger as MakeLedger
    from penstock.testing._ledger_laws import check_ledger as check_ledger
    from penstock.testing._staged import StagedKernel as StagedKernel
    from penstock.testing._understudy import borrowed_voices as borrowed_voices

_LAZY = {
    "LEDGER_LAWS": "penstock.testing._ledger_laws",
    "AnsweredKernel": "penstock.testing._answered",
    "LedgerAtHand": "penstock.testing._ledger_laws",
    "LedgerLaw": "penstock.testing._ledger_laws",
    "MakeLedger": "penstock.testing._ledger_laws",
    "OutOfAnswersError": "penstock.testing._answers",
    "PenstockKernel": "penstock.testing._answered",
    "StagedKernel": "penstock.testing._staged",
    "UnusedAnswersError": "penstock.testing._answers",
    "check_ledger": "penstock.testing._ledger_laws",
    "borrowed_voices": "penstock.testing._understudy",
    "keyless": "penstock.testing._keyless",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = globals()[name] = getattr(import_module(_LAZY[name]), name)
        return value
    raise AttributeError(f"module 'penstock.testing' has no attribute {name!r}")
