"""Tables, queries and migrations: all SQL stands here."""
