"""The embedded store's tables beside that of the images: what they are asked, as SQL."""

from sticky_pi_api.tables.annotations import AnnotationsTable
from sticky_pi_api.tables.users import UsersTable

__all__ = ["AnnotationsTable", "UsersTable"]
