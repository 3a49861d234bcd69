"""The daemon on a Sticky Pi trap: it gets every picture from the SD card to the project's server."""
