"""The reporting session: its hooks, journal, delivery and summary. Only the process that reports has one.

While tests run, it appends to the journal and does nothing else: no network, no thread, no signal handler, no
access to the environment. The sender process delivers the journal.
"""
