"""What people type: the commands' arguments, what they find out, and how they show it."""
