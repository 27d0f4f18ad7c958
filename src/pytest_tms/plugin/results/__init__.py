"""Converts the reports of pytest to results of tests."""
