"""Record that recorded files whose bytes are unchanged have another ctime, or are in their place again."""

from __future__ import annotations

import logging
import os

from sticky_pi_api.exceptions import printable

from ..journal.events import Kind, about
from ..models import Fingerprint
from ..outbox import Catalog, Known

log = logging.getLogger(__name__)


class ReturnedFiles:
    """The known files that were found as they were, for the one who records."""

    def __init__(self, catalog: Catalog) -> None:
        """Note none yet."""
        self._catalog = catalog
        self._ctimes: dict[str, Fingerprint] = {}
        self._back: list[str] = []
        self._told: list[str] = []
        """those that are back, until that is logged"""

    def note(self, path: str, fingerprint: Fingerprint, known: Known | None) -> None:
        """Note how a file looks that has the bytes that are recorded, next to what is `known` of it."""
        before = None if known is None else known.fingerprint
        if before is None or before.ctime_ns != fingerprint.ctime_ns:
            self._ctimes[path] = fingerprint
        if known is not None and not known.present:
            self._back.append(path)

    def record_ctimes(self) -> list[str]:
        """Record the ctimes of those that had another one; returns their paths. Raises StateError."""
        if self._ctimes:
            self._catalog.note_ctimes(self._ctimes)
        paths = list(self._ctimes)
        self._ctimes.clear()
        return paths

    def record_presence(self) -> bool:
        """Have those sent again that are back; tells whether there are any. Raises StateError."""
        if not self._back:
            return False
        with self._catalog.together():
            for path in self._back:
                self._catalog.set_present(path, present=True)
        self._told += self._back
        self._back.clear()
        return True

    def tell(self) -> None:
        """Log how many came back since this was last called."""
        if self._told:
            count, one = len(self._told), self._told[0]
            self._told.clear()
            extra = about(Kind.BACK, count=count, path=one, image=os.path.basename(one))
            log.info("%d pictures can be seen again; %s is one", count, printable(one), extra=extra)
