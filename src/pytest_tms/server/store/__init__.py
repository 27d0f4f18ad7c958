"""Tables, queries and migrations: all SQL of the server."""
