"""What the budget keeper is asked and told. Values; what each means is said where it is sent (`budget_ref`)."""

from __future__ import annotations

import attrs
from msgspec import Struct

from penstock.actors._mail import Request
from penstock.policy.accounts import AccountSpec
from penstock.policy.hold_ask import Decision, HoldAsk
from penstock.policy.holds import Amount
from penstock.policy.ledger_steps import Spent

__all__ = ["NotedMail", "ReconfigureMail", "ReserveMail", "SettleMail", "TopUpMail"]


class ReserveMail(Request[Decision], frozen=True, gc=False):
    ask: HoldAsk


class TopUpMail(Request[Decision], frozen=True, gc=False):
    hold_id: str
    more: Amount
    likely: Amount | None


class SettleMail(Struct, frozen=True, gc=False):
    hold_id: str
    charged: Amount
    estimated: bool
    spent: tuple[Spent, ...]


@attrs.frozen
class NotedMail:
    account: str
    charged: Amount
    estimated: bool
    spent: tuple[Spent, ...]


class ReconfigureMail(Request[None], frozen=True):
    accounts: tuple[AccountSpec, ...]
