"""Reads the build from CI systems and git. ``providers`` is the table of systems, ``metadata`` the result."""
