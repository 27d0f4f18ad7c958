"""The process that delivers a journal: uploads, retries, replay."""
