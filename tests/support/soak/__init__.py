"""A year of a trap in some minutes: the daemon's real parts, on clocks that the camera and the waits move on."""
