"""Lets `python -m sticky_pi_uploader` be the console command."""

from __future__ import annotations

import sys

from .cli import main

sys.exit(main())
