"""A proxy for tests that makes a good network bad: slow, far away, and faulty where a test wants it.

It passes HTTP on to one server, knows where requests and answers begin and end, and lets things go wrong at given
bytes of given requests; it can speak TLS with any certificate. What DNS does is not its business.
"""

from .faults import Fault, Rule
from .harness import FaultProxy
from .proxy import Settings

__all__ = ["Fault", "FaultProxy", "Rule", "Settings"]
