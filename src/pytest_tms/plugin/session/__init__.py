"""The life of one reporting session: only the process that reports has one.

While tests run, it appends to the journal and does nothing else: no network, no thread, no signal handler, no
look at the environment. The sender process delivers the journal.
"""
