"""The API of a Sticky Pi server, over HTTP."""
