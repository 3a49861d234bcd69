"""Watch the image folder, the network, and files that must stay the same."""
