"""A reference server of the Sticky Pi API for tests: both published generations, as they are known to behave.

`ApiServer` starts it in a process of its own, steers it and shows what it received. By hand, with Ctrl-D to end it:

    PYTHONPATH=tests/support:daemon python -m api_server --generation 2021 --data /tmp/server --port 8000

A request goes `front` (as nginx: connections, bodies) → `workers` → `api` → `upload` → `store`; `modes` puts the
whole server into a bad state, and `ledger` keeps a line on every request.
"""

from .harness import ApiServer
from .ledger import Entry, SentFile
from .options import Options
from .store import Key, Row

__all__ = ["ApiServer", "Entry", "Key", "Options", "Row", "SentFile"]
