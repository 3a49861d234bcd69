"""Work with the rights of the state folder's owner, and hand the folder over to a user."""
