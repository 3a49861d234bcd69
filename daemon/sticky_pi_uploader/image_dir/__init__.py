"""The camera's folder and the pictures in it."""
