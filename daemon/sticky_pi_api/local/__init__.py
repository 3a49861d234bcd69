"""The embedded store's tables beside that of the images: what they are asked, as SQL."""
