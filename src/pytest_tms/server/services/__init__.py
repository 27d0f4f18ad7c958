"""Use cases: what a message or the clock changes, in the transaction of the caller."""
