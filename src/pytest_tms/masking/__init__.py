"""Masks secrets in the string values of everything that is sent or written to disk.

Only values are masked, depending on their field in a message: never keys, numbers, enumerations, ids or
structure.
"""
