"""Read JPEG pictures: their file names, structure, EXIF and thumbnails."""
