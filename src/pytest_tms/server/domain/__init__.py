"""The rules: states, counts, identity. Free of HTTP and SQL."""
