"""Speaks HTTP with a server and where its links lead, and knows of `requests` and `urllib3`: they don't get out."""

# urllib3 1 finds these through `six`, which would import them while it holds the lock that every import needs: with
# another thread at an import, each could wait for the other for ever. So they are there before.
import http.client  # noqa: F401
import queue  # noqa: F401

from sticky_pi_api.http.session import Body, Http, Receive, Timeouts

__all__ = ["Body", "Http", "Receive", "Timeouts"]
