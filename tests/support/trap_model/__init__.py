"""A trap in this process: the daemon's real parts on clocks that tests move, a card, and a server in a few lines.

The client is the real one but for its connections. The process dies wherever a test says, at a reading of a clock:
what it had committed stays, and nothing else. `machine` has all of it happen in any order, beside a model.
"""
