"""Work with the rights of the state folder's owner or of the service, and hand the folder over to a user."""
