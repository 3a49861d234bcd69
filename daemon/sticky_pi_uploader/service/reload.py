"""What a SIGHUP does: read the configuration again, and take it if it can be used.

While the service waits for a folder or a destination, it goes on waiting for those of the new configuration. While it
works, the destination is tried at once; a new session begins if anything changed. systemd hears of begin and end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..exceptions import ConfigError
from ..journal.events import Kind, about
from ..wording import counted
from .trouble import Trouble

if TYPE_CHECKING:
    from ..config import Config
    from .systemd import ServiceManager

log = logging.getLogger(__name__)


class ReloadableConfig:
    """The configuration in force, which a new one replaces if it can be used."""

    def __init__(
        self, load: Callable[[], Config], manager: ServiceManager, *, check: Callable[[Config], object] = lambda _: None
    ) -> None:
        """Load it; `check` raises ConfigError for one that can be loaded and yet not replace it. Raises ConfigError."""
        self._load = load
        self._manager = manager
        self._check = check
        self.current = load()
        self.refusals: list[Trouble] = []
        """why the last reload was refused; empty if it wasn't"""

    def reload(self) -> bool:
        """Read the configuration again; return whether it could be taken, otherwise the one from before stays."""
        self._manager.reloading()
        try:
            config = self._load()
            self._check(config)
        except ConfigError as error:
            extra = about(Kind.RELOAD_FAILED)
            for problem in error.problems:
                log.error("%s", problem, extra=extra)  # noqa: TRY400 - no traceback for people
            log.error("the configuration was not reloaded: the one from before stays in force", extra=extra)  # noqa: TRY400
            self.refusals = [_refusal(error)]
            return False
        what = "" if config != self.current else ": nothing has changed"
        log.info("the configuration was reloaded%s", what, extra=about(Kind.RELOADED))
        self.current, self.refusals = config, []
        return True

    def reload_at_work(self, end_wait: Callable[[], None]) -> bool:
        """Reload, and end the destination's wait; return whether the configuration changed.

        If so, a new session has to begin: until it has, the reload isn't over for systemd.
        """
        before = self.current
        if self.reload():
            # Whoever asks for it may have mended just what keeps the destination from taking pictures.
            end_wait()
        if self.current != before:
            return True
        self._manager.reloaded()
        return False


def _refusal(error: ConfigError) -> Trouble:
    first, *others = error.problems
    more = f", and {counted(len(others), 'more mistake')}" if others else ""
    return Trouble(
        f"the last reload was refused, so the configuration from before stays in force: {first}{more}",
        "mend that, see with `sudo sticky-pi-uploader check` that it is right, and reload the service again",
    )
