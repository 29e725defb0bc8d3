"""What a kernel looks like at one moment, as typed values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any

import attrs
from msgspec import Struct

from penstock._second_level import SecondLevelStatistics
from penstock.actors._mailbox import MailStatistics
from penstock.actors.cache_actor import CacheStatistics
from penstock.policy.breaker import ScopeHealth
from penstock.policy.budget import AccountSnapshot
from penstock.policy.routing import CoolDown

__all__ = ["Health", "KernelSnapshot"]


@attrs.frozen(kw_only=True)
class KernelSnapshot:
    """Queues, calls, breakers, cool-downs, accounts, cache and actors, as the actors last left them.

    What calls have told an actor and it has not come to yet is not in it. `await` the snapshot for a later one in which
    everything told before is handled, and the ledger's store was asked; that raises LedgerUnavailableError where it
    does not answer.
    """

    in_flight: int
    """Calls that have one of the `max_in_flight` places."""
    waiting: int
    """Calls that wait for one."""
    breakers: Mapping[str, ScopeHealth]
    """By scope (`target:sonnet`, `provider:openai`, `key:openai/0`); closed ones are left out."""
    cooling: Mapping[str, CoolDown]
    """By scope; those that are over are left out."""
    accounts: Mapping[str, AccountSnapshot]
    """By path; the root's is "". Of a ledger that outlives the process, as they were at the last awaited snapshot.
    Those it was not asked of, all of them before the first one, are not known, and not in it: `.get` says None."""
    cache: CacheStatistics | None
    """None where no cache is configured."""
    cache_store: SecondLevelStatistics | None
    """What keeps answers beyond this process; None: nothing does."""
    actors: Mapping[str, MailStatistics]
    _later: Callable[[], Awaitable[KernelSnapshot]] = attrs.field(eq=False, repr=False, alias="later")

    def __await__(self) -> Generator[Any, Any, KernelSnapshot]:
        return self._later().__await__()


class Health(Struct, frozen=True, kw_only=True):
    """Whether calls can be taken, and where they would go."""

    ready: bool
    """False once the kernel shuts down, or where an actor is over for good."""
    closing: bool
    in_flight: int
    targets: Mapping[str, str]
    """Every target of every route: `closed`, `open`, `half_open`, `isolated` or `cooling`, the worst of its scopes."""
    problems: tuple[str, ...]
    """Plugins that could not be used, actors that are over."""
