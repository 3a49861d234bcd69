"""Keeps secrets out of the tracebacks of errors: whoever logs these may log local variables as well."""

from __future__ import annotations

from types import TracebackType

_OURS = __name__.partition(".")[0]


def without_libraries(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback with the frames of this package alone: others' hold whatever is sent."""
    frames = []
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] == _OURS:
            frames.append(trace)
        trace = trace.tb_next
    kept = None
    for one in reversed(frames):
        kept = TracebackType(kept, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return kept
