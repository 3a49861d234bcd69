"""Runs the console command in this process: what it prints, and its exit status."""

import io
import logging
import os
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

from sticky_pi_uploader.cli import main as cli


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str


def run(*arguments, environ=None):
    """Run one command; whatever it prints must be UTF-8 text, and no traceback."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with patch.dict(os.environ, environ or {}), redirect_stdout(out), redirect_stderr(err):
        try:
            status = cli.main(arguments)
        finally:
            # Each begins anew, with handlers that write to what is stderr then.
            logging.getLogger().handlers.clear()
    done = Done(status, *(stream.buffer.getvalue().decode() for stream in (out, err)))
    assert "Traceback" not in done.err, done.err
    assert done.status in (0, 1, 2, 73, 74, 75, 78), done
    return done
