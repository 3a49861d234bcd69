"""Remove pictures from the image folder once the destination verifiably has them."""
