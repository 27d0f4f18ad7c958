"""Rules without HTTP and SQL: states, counts, attempts, tokens, policies."""
