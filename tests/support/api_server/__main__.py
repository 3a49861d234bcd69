"""Runs the server until its standard input ends, and does what the lines there ask for (see `site.Site.obey`)."""

import json
import sys

from own_process import say

from .options import parse
from .site import Site

site = Site(parse(sys.argv[1:]))
say({"port": site.port})
for line in sys.stdin:
    site.obey(json.loads(line))
    say("done")
