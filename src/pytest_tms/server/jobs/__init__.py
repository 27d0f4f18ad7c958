"""Background jobs that run periodically in every server process."""
