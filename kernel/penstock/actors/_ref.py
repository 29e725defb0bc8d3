"""What the Refs of all actors have in common."""

from __future__ import annotations

from penstock.actors._address import Address
from penstock.actors._mailbox import MailStatistics

__all__ = ["ActorRef"]


class ActorRef:
    """What others have of an actor: its verbs, over the address of its mailbox."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def flush(self) -> None:
        """Waits until everything told before is handled, and booked where a store answers."""
        await self._address.flush()

    def close(self) -> None:
        """No more mail."""
        self._address.close()

    def statistics(self) -> MailStatistics:
        """Its mailbox at this moment."""
        return self._address.statistics()
