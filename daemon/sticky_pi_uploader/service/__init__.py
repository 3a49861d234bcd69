"""The running service: its session, workers, signals, and the service manager."""
