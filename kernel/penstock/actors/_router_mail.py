"""What is sent to the router, and what it publishes."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from msgspec import Struct

from penstock.actors._mail import Request
from penstock.actors._waiting_room import WaitingRoom
from penstock.policy.retry_budget import Suppressed, Withdrawn
from penstock.policy.routing import Admitted, CoolDown, CoolReason, Denied, Learned, PermitVerdict, eased

__all__ = [
    "AdmitMail",
    "LimitedNote",
    "ReturnMail",
    "RouteCell",
    "RouteSnapshot",
    "SpendMail",
    "UsedNote",
    "WithdrawMail",
]


class RouteSnapshot(Struct, frozen=True):
    """What is known of the targets.

    Absent from `cooling`: may be tried. There and over: may be tried by those whom `RouterRef.admit` lets. Absent from
    `learned`: nothing learned yet.
    """

    cooling: Mapping[str, CoolDown]
    learned: Mapping[str, Learned]
    no_retries: Mapping[str, Suppressed] = {}
    """Providers whose retry budget had no room for a call when somebody last asked; over with `retry_at`."""


@attrs.define
class RouteCell:
    """The published snapshot: replaced whole, read by everyone."""

    snapshot: RouteSnapshot
    waiting: WaitingRoom

    def publish(self, snapshot: RouteSnapshot) -> None:
        """Shows what is new, and wakes those it lets pass: of a cool-down that is over as many as it has permits."""
        before, self.snapshot = self.snapshot, snapshot
        self.waiting.ease(eased(before.cooling, snapshot.cooling))


class AdmitMail(Request[Admitted | Denied], frozen=True):
    permit_id: str
    scopes: tuple[str, ...]
    lease: float


class ReturnMail(Struct, frozen=True):
    permit_id: str
    verdict: PermitVerdict


class WithdrawMail(Request[Withdrawn | Suppressed], frozen=True):
    provider: str
    nano_usd: int | None
    hold_nano_usd: int | None
    money_only: bool
    """True for a fallback's first attempt: it withdraws no call."""


class SpendMail(Request[Withdrawn | Suppressed], frozen=True):
    account: str
    nano_usd: int | None
    hold_nano_usd: int | None


@attrs.frozen
class LimitedNote:
    reason: CoolReason
    retry_after: float | None


class UsedNote(Struct, frozen=True):
    """Of one exchange, or of several together."""

    text_bytes: int
    input_tokens: int
    excess: int
