"""What CI systems and git report about a build."""
