"""A kernel that spends from a shared ledger with many calls at once, until it is killed: see `plugins/ledgers`.

    python kernel_process.py CONFIG CALLERS FIRST ACCOUNTS

Account after account from FIRST on is used up, until one refuses: `accounts` says how they are made. It ends at the end
of its input, and then says how its calls ended.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from pathlib import Path

import attrs
import trio

import penstock
from penstock import errors

__all__ = ["Account", "accounts"]

INPUT_PRICE, OUTPUT_PRICE = 1, 4
"""USD per million tokens, of every model."""


@attrs.frozen
class Account:
    """The account of a number, and the model that its calls alone use: so the upstream counts by account."""

    number: int

    @property
    def in_money(self) -> bool:
        """Whether its limit is in USD; else it is in tokens."""
        return self.number % 2 == 1

    @property
    def path(self) -> str:
        return f"{'money' if self.in_money else 'tokens'}/{self.number}"

    @property
    def model(self) -> str:
        return f"model-{self.number}"

    @property
    def provider(self) -> str:
        return "anthropic" if self.number % 3 == 2 else "openai"

    def table(self) -> str:
        """Its target, in TOML."""
        return (
            f"[targets.t{self.number}]\n"
            f'provider = "{self.provider}"\n'
            f'model = "{self.model}"\n'
            f"price = {{ input = {INPUT_PRICE}.0, output = {OUTPUT_PRICE}.0 }}\n"
        )


def accounts(number: int) -> list[Account]:
    """So many, in the order in which they are used up."""
    return [Account(each) for each in range(number)]


@attrs.define
class Spender:
    """Calls of one process."""

    left: list[Account]
    chance: random.Random
    ends: Counter[str] = attrs.field(factory=Counter[str])

    async def run(self, config: Path, callers: int) -> None:
        """Until the end of the input."""
        async with penstock.open_kernel(penstock.Config.load(config)) as kernel, trio.open_nursery() as nursery:
            for caller in range(callers):
                nursery.start_soon(self._call_on_and_on, kernel, f"{os.getpid()}-{caller}")
            await trio.to_thread.run_sync(sys.stdin.read)
            nursery.cancel_scope.cancel()
        print(dict(self.ends), file=sys.stderr)

    async def _call_on_and_on(self, kernel: penstock.Kernel, name: str) -> None:
        number = 0
        while self.left:
            account = self.left[0]
            number += 1
            try:
                how = await self._call(kernel, account, f"{name}-{number}")
            except errors.BudgetExceededError:
                # Used up: on to the next one, whoever of us sees it first.
                how = "refused"
                if self.left and self.left[0] is account:
                    self.left.pop(0)
            except errors.CallError as error:
                how = type(error).__name__
            self.ends[how] += 1
            await trio.lowlevel.checkpoint()  # a refusal may come at once

    async def _call(self, kernel: penstock.Kernel, account: Account, name: str) -> str:
        """One call, `complete` or stream, to its end or left; says which."""
        # Longer answers than it allows: what is held is then nearly what is served, and limits can be reached.
        ask = kernel.with_options(account=account.path)
        prompt, model = f"[[words 400]] {name}", f"t{account.number}"
        dice = self.chance.random()
        if dice < 0.6:
            await ask.complete(prompt, model=model, max_tokens=self.chance.randint(50, 300))
            return "complete"
        if dice < 0.65:
            with trio.move_on_after(self.chance.random() * 0.1):
                await ask.complete(prompt, model=model, max_tokens=self.chance.randint(50, 300))
            return "complete, impatiently"
        left_after = self.chance.randint(0, 10) if dice < 0.75 else None
        chunks = 0
        async with ask.stream(prompt, model=model, max_tokens=self.chance.randint(10, 50)) as stream:
            async for _ in stream:
                chunks += 1
                if chunks == left_after:
                    return "stream, left"
        return "stream"


if __name__ == "__main__":
    path, callers, first, most = sys.argv[1:]
    trio.run(Spender(accounts(int(most))[int(first) :], random.Random()).run, Path(path), int(callers))
