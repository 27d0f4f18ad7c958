"""Secrets, replaced in the string values of what leaves the process or reaches the disk.

Only values are masked, by their place in a message: never keys, numbers, enumerations, ids or structure.
"""
