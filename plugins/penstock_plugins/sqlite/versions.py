"""The version of a file of ours, and the way from an older one to this: steps, each a script, all of them or none.

Whose file it is stands in its `application_id`: a database of somebody else's is not touched. Not here: the tables.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

__all__ = ["NewerFileError", "StrangeFileError", "bring_up_to_date"]


class StrangeFileError(Exception):
    """It is the database of another program."""


class NewerFileError(Exception):
    """It was written by a later release: with `version`, where `known` is the newest here."""

    def __init__(self, version: int, known: int) -> None:
        super().__init__(version, known)
        self.version = version
        self.known = known


def bring_up_to_date(connection: sqlite3.Connection, *, application_id: int, steps: Sequence[str]) -> None:
    """Makes the tables, or those of an older version into those of this. Version n is what the first n steps make.

    Raises StrangeFileError and NewerFileError, and nothing is changed.
    """
    if _version(connection, application_id, steps) == len(steps):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been faster.
        for step in steps[_version(connection, application_id, steps) :]:
            for statement in _statements(step):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {application_id}")
        connection.execute(f"PRAGMA user_version = {len(steps)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection, application_id: int, steps: Sequence[str]) -> int:
    ((application,),) = connection.execute("PRAGMA application_id")
    ((version,),) = connection.execute("PRAGMA user_version")
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema")
    if application != application_id and (application or version or tables):
        raise StrangeFileError
    if version > len(steps):
        raise NewerFileError(version, len(steps))
    return int(version)


def _statements(script: str) -> Iterator[str]:
    """One by one: `executescript` would end the transaction that they share."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
