"""The embedded store's database: its schema, its tables and their queries, and its errors."""
