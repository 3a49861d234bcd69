"""Put pictures into a store or on a server, skip those that are held, and verify that they still are."""
