"""The process that delivers a journal while tests run, and the delivery of journals that were kept."""
