"""The checks behind `check`, each of which yields findings with advice."""
