"""Journals: the results of a run, written to disk before they are sent. docs/journal.md describes the files.

One run writes one file, ``NAME.jsonl``: one line for each event of the run, appended with one write.
``NAME.acks`` beside it records which of them the TMS has accepted. ``NAME.lock`` is held by the process that
delivers them, so that two processes never deliver one journal. All files are deleted once everything is
delivered.
"""
