"""What CI systems and git report about a build: ``providers`` is the table, ``metadata`` what a run sends."""
