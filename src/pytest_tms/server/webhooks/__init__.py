"""Webhooks out: what is told, to whom it may go, and the one who sends it."""
