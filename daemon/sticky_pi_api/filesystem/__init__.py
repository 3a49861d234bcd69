"""Open, write and rename files safely: no link is followed, and all is on the disk afterwards."""
