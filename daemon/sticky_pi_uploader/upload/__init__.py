"""Send the outbox's pictures to the destination, and decide on each outcome."""
