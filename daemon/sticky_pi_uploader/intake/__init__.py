"""Take pictures in: scan the image folder, read each picture, record it in the outbox."""
