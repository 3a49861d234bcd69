"""Speaks HTTP with one server, and knows of `requests` and `urllib3`: nothing of theirs gets out of here."""

from sticky_pi_api.http.session import Body, Http, Timeouts

__all__ = ["Body", "Http", "Timeouts"]
