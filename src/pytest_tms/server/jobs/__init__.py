"""Background jobs: what the server does by the clock."""
