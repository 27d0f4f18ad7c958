"""Encryption at rest: the keys, the values that they encrypt, and the format of encrypted files."""
