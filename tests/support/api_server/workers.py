"""The few workers behind the front: a request waits for one, and one that hangs is missing for everybody.

A worker that has just been forked, or whose connection to the database was cut, is cold: its first request fails.
"""

import random
import threading
import time


class Workers:
    """A number of workers; each has one request at a time."""

    def __init__(self, options):
        """Start as many as the options say, all of them cold if these say so."""
        self._options = options
        self._random = random.Random(0)
        self._free = list(range(options.workers))
        self._cold = set(self._free) if options.cold_workers else set()
        self._back_at = 0.0
        self._change = threading.Condition()

    def take(self):
        """Return a worker; None where none was to be had in time."""
        with self._change:
            if not self._change.wait_for(lambda: self._free, self._options.gateway_timeout):
                return None
            # The one that has waited the longest, or any.
            in_turn = self._options.worker_choice == "in turn"
            return self._free.pop(0 if in_turn else self._random.randrange(len(self._free)))

    def reaches_database(self, worker):
        """Return whether a worker's request to the database succeeds; if not, the next one may."""
        with self._change:
            is_cold = worker in self._cold
            self._cold.discard(worker)
            return not is_cold and time.monotonic() >= self._back_at

    def give_back(self, worker):
        """Let the worker have another request."""
        with self._change:
            self._free.append(worker)
            self._change.notify()

    def kill(self, worker):
        """Let a new worker take this one's place, later."""
        if self._options.cold_workers:
            self._cold.add(worker)
        successor = threading.Timer(self._options.respawn, self.give_back, [worker])
        successor.daemon = True
        successor.start()

    def restart_database(self, seconds):
        """Let the database be away for so long; every worker's first request after that fails as well."""
        with self._change:
            self._back_at = time.monotonic() + seconds
            timer = threading.Timer(seconds, self._all_cold)
            timer.daemon = True
            timer.start()
            self._all_cold()

    def _all_cold(self):
        self._cold = set(range(self._options.workers))
