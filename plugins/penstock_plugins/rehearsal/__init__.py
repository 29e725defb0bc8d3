"""Rehearsal: an LLM provider that runs anywhere, and fails on command.

An `Upstream` speaks Chat Completions and Messages, answers deterministically or from recordings, keeps its own books,
and injects faults by a seeded `Script`. `serve` puts it behind a real port, `RehearsalTransport` into memory:

    upstream = Upstream(Script((Rule(fault=faults.Overloaded(), model="claude-*", from_s=5, until_s=15),), seed=7))
    async with serve(upstream) as server:
        ...  # base_url = f"{server.url}/v1" for OpenAI, server.url for Anthropic
    upstream.statistics().served(model="gpt-4o").output_tokens

Any key is taken, but there must be one. Not here: an outage of penstock's own.
"""

from __future__ import annotations

from penstock_plugins.rehearsal import faults as faults
from penstock_plugins.rehearsal.ask import key_label as key_label
from penstock_plugins.rehearsal.faults import Fault as Fault
from penstock_plugins.rehearsal.latency import Latency as Latency
from penstock_plugins.rehearsal.ledger import Account as Account
from penstock_plugins.rehearsal.ledger import Served as Served
from penstock_plugins.rehearsal.ledger import Statistics as Statistics
from penstock_plugins.rehearsal.replay import Replay as Replay
from penstock_plugins.rehearsal.script import Rule as Rule
from penstock_plugins.rehearsal.script import Script as Script
from penstock_plugins.rehearsal.socket_front import Server as Server
from penstock_plugins.rehearsal.socket_front import serve as serve
from penstock_plugins.rehearsal.transport_front import RehearsalTransport as RehearsalTransport
from penstock_plugins.rehearsal.upstream import Exchange as Exchange
from penstock_plugins.rehearsal.upstream import Seen as Seen
from penstock_plugins.rehearsal.upstream import Upstream as Upstream

__all__ = [
    "Account",
    "Exchange",
    "Fault",
    "Latency",
    "RehearsalTransport",
    "Replay",
    "Rule",
    "Script",
    "Seen",
    "Served",
    "Server",
    "Statistics",
    "Upstream",
    "faults",
    "key_label",
    "serve",
]
