"""Measurements: ``python -m bench`` prints tables of ratios against a baseline of the same run."""
