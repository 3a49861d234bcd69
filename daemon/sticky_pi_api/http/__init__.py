"""Speaks HTTP with a server and where its links lead, and knows of `requests` and `urllib3`: they don't get out."""

from sticky_pi_api.http.session import Body, Http, Receive, Timeouts

__all__ = ["Body", "Http", "Receive", "Timeouts"]
