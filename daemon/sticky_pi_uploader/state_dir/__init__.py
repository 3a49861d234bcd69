"""The state folder and the disks below it: locks, reserved space, thumbnails, wake-ups."""
