"""A Sticky Pi server: its connection, and its verbs by what they are about."""

from sticky_pi_api.server.annotations import ServerAnnotations
from sticky_pi_api.server.bundles import ServerBundles
from sticky_pi_api.server.connection import SERIES_TIME, SHORT_ANSWER, Server
from sticky_pi_api.server.users import ServerUsers

__all__ = ["SERIES_TIME", "SHORT_ANSWER", "Server", "ServerAnnotations", "ServerBundles", "ServerUsers"]
