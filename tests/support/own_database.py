"""Keeps a database to the tests, so that whoever else wants to write there waits, as on a disk that hangs."""

import sqlite3
from contextlib import contextmanager


@contextmanager
def kept_from_others(database):
    """Let nobody else at the database in this file."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.close()
