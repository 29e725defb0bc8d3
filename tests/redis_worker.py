"""Run as a program: a worker on a ledger on Redis. Its arguments: URL, namespace, upstream's port, limits, tasks."""

from __future__ import annotations

import sys

import trio
from ledger_worker import Limits, work
from redis_stores import opened


async def main() -> None:
    url, namespace, port, total, account, second, tasks = sys.argv[1:]
    async with opened(url, namespace, timeout=5.0) as store:
        await work(store, int(port), Limits(int(total), int(account), int(second)), int(tasks))


if __name__ == "__main__":
    trio.run(main)
