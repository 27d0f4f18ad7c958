"""Outgoing webhooks: the outbox, the delivery worker, the HTTP sender and the encryption of secrets."""
