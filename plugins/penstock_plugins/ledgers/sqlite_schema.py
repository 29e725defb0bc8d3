"""The tables of a ledger file, their version, and the way from an older one to this.

One row for every window and bucket, hold and settled id. A figure that no 64 bits hold is kept as text: whatever was
charged can be booked.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from penstock.errors import ConfigError
from penstock_plugins.sqlite import versions

__all__ = ["APPLICATION_ID", "NAMED", "STEPS", "Figure", "bring_up_to_date"]

APPLICATION_ID = 0x504E5354
"""`PNST`: by it a file is known to be a ledger of penstock, and no other program's."""

# `ANY` in a STRICT table keeps what it is given: whole numbers, or text beyond 64 bits.
_FIRST = """
CREATE TABLE ledger (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  latest REAL NOT NULL,          -- the latest time of any batch: it never goes back
  writes INTEGER NOT NULL,       -- counts batches: who finds it changed reads anew
  longest_lease REAL NOT NULL
) STRICT;
CREATE TABLE buckets (
  "window" TEXT NOT NULL,
  "end" REAL NOT NULL,
  held_tokens ANY NOT NULL,
  held_nano_usd ANY NOT NULL,
  spent_tokens ANY NOT NULL,
  spent_nano_usd ANY NOT NULL,
  estimated_tokens ANY NOT NULL,
  estimated_nano_usd ANY NOT NULL,
  PRIMARY KEY ("window", "end")
) STRICT, WITHOUT ROWID;
CREATE INDEX buckets_by_end ON buckets ("end");
CREATE TABLE limits (            -- set by hand
  "window" TEXT PRIMARY KEY,
  tokens ANY,
  nano_usd ANY
) STRICT, WITHOUT ROWID;
CREATE TABLE holds (             -- and the ids that were settled
  id TEXT PRIMARY KEY,
  settled INTEGER NOT NULL,
  ends_at REAL NOT NULL,         -- when something is to be done: the lease's end, that of its last bucket once it is
                                 -- lapsed, or of the time for which the id is remembered
  account TEXT,
  output_tokens ANY,
  reserved_at REAL,
  lease_ends REAL,
  top_ups INTEGER,
  lapsed INTEGER,
  parts BLOB                     -- msgpack: [[tokens, nano_usd, [[window, end], ...], by estimate], ...]
) STRICT, WITHOUT ROWID;
CREATE INDEX holds_by_end ON holds (settled, ends_at);
CREATE TABLE history (
  id INTEGER PRIMARY KEY,
  at REAL NOT NULL,
  action TEXT NOT NULL,
  account TEXT NOT NULL,
  "window" TEXT NOT NULL,
  before TEXT NOT NULL,
  after TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT;
CREATE TABLE journal (
  since REAL NOT NULL,
  account TEXT NOT NULL,
  target TEXT NOT NULL,
  estimated INTEGER NOT NULL,
  calls ANY NOT NULL,
  attempts ANY NOT NULL,
  input_tokens ANY NOT NULL,
  cached_input_tokens ANY NOT NULL,
  cache_write_tokens ANY NOT NULL,
  output_tokens ANY NOT NULL,
  reasoning_tokens ANY NOT NULL,
  nano_usd ANY NOT NULL,
  PRIMARY KEY (since, account, target, estimated)
) STRICT, WITHOUT ROWID;
INSERT INTO ledger VALUES (1, -6.2e10, 0, 60.0);
"""

_WRITERS = """
ALTER TABLE ledger ADD COLUMN writer TEXT NOT NULL DEFAULT '';  -- of the last batch
CREATE TABLE writers (           -- all others that have written
  name TEXT PRIMARY KEY,
  last INTEGER NOT NULL,         -- the number of its last batch
  at REAL NOT NULL
) STRICT, WITHOUT ROWID;
"""

_FILED = """
ALTER TABLE ledger ADD COLUMN filed INTEGER NOT NULL DEFAULT 0;  -- batches in the file without its WAL, at least
"""

_NAMED = """
ALTER TABLE ledger ADD COLUMN name TEXT NOT NULL DEFAULT '';  -- of these books, and of no others but their copies
UPDATE ledger SET name = lower(hex(randomblob(8)));
"""

_COUNTED = """
ALTER TABLE buckets ADD COLUMN counted_in INTEGER NOT NULL DEFAULT 0;  -- the batch that counted in the window last
ALTER TABLE buckets ADD COLUMN counted_at REAL NOT NULL DEFAULT -6.2e10;  -- and its time
ALTER TABLE buckets ADD COLUMN level INTEGER;      -- the batch up to which the window has missed nothing, if not that
UPDATE buckets SET counted_in = (SELECT writes FROM ledger), counted_at = (SELECT latest FROM ledger);
ALTER TABLE limits ADD COLUMN corrected_tokens_at REAL NOT NULL DEFAULT -6.2e10;  -- what is spent, by hand
ALTER TABLE limits ADD COLUMN corrected_nano_usd_at REAL NOT NULL DEFAULT -6.2e10;
"""

STEPS: tuple[str, ...] = (_FIRST, _WRITERS, _FILED, _NAMED, _COUNTED)
"""Version n is what the first n of these make. One that was released is never changed: what comes later is another."""
NAMED = STEPS.index(_NAMED) + 1
"""The first version in which books have a name."""

Figure = int | str
"""A whole number as it is kept."""


def bring_up_to_date(connection: sqlite3.Connection, steps: Sequence[str] = STEPS) -> None:
    """Makes the tables, or those of an older version into those of this: all of it or nothing.

    Raises ConfigError for a file of a newer version, and for another program's.
    """
    try:
        versions.bring_up_to_date(connection, application_id=APPLICATION_ID, steps=steps)
    except versions.StrangeFileError:
        raise ConfigError("it is the database of another program: name another path in [ledger]") from None
    except versions.NewerFileError as newer:
        raise ConfigError(
            f"it was written by a newer penstock (ledger version {newer.version}; this one knows {newer.known}):"
            " use that penstock, or name another path in [ledger]"
        ) from None
