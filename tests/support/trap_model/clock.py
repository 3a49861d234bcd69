"""The trap's two clocks, and the moment at which its process dies."""


class PowerCutError(BaseException):
    """The process ends here; nothing catches it, as nothing catches a SIGKILL."""


class Clock:
    """A wall clock, which may be set, and a monotonic one; each reading is a chance to die, and takes its time."""

    def __init__(self, wall):
        self.wall = wall
        self.since_boot = 0.0
        self.tick = 0.0
        """seconds from one reading to the next"""
        self.cut_after = None
        """readings after which the power is cut"""
        self.on_cut = lambda: None
        """called at that moment"""

    def time(self):
        self._read()
        return self.wall

    def monotonic(self):
        self._read()
        return self.since_boot

    def advance(self, seconds):
        self.wall += seconds
        self.since_boot += seconds

    def _read(self):
        self.advance(self.tick)
        if self.cut_after is None:
            return
        self.cut_after -= 1
        if self.cut_after < 0:
            self.cut_after = None
            self.on_cut()
            raise PowerCutError
