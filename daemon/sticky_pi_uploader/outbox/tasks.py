"""The outbox's memory of what is done only now and then, such as a look at the whole of it."""

from __future__ import annotations

from .writer import OutboxWriter


class Tasks(OutboxWriter):
    """When what was last done."""

    def last_done(self, task: str) -> float | None:
        """Tell the Unix time at which a task was last done; None for never."""
        return self._number("SELECT max(at) FROM tasks WHERE task = ?", (task,))

    def note_done(self, task: str) -> None:
        """Record that a task was done just now."""
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO tasks (task, at) VALUES (?, ?)", (task, self._clock()))
