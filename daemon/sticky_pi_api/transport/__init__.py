"""Speak HTTP with a server and follow its links; `requests` and `urllib3` are used nowhere else."""
