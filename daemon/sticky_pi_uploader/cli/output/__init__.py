"""Text for people: on stdout, stderr and a terminal, and the formats of reports."""
