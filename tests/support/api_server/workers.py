"""The few workers behind the front: a request waits for one, and one that hangs is missing for everybody."""

import threading


class Workers:
    """A number of workers; each has one request at a time."""

    def __init__(self, number, patience, respawn):
        """`patience` is how long a request waits, `respawn` how long a killed worker is missing, in seconds."""
        self._free = threading.Semaphore(number)
        self._patience = patience
        self._respawn = respawn

    def take(self):
        """Return whether a worker was to be had."""
        return self._free.acquire(timeout=self._patience)

    def give_back(self):
        """Let the worker have another request."""
        self._free.release()

    def kill(self):
        """Let a new worker take this one's place, later."""
        successor = threading.Timer(self._respawn, self._free.release)
        successor.daemon = True
        successor.start()
