"""The settings of the plugin and the command, each declared once."""
