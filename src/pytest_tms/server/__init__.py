"""The TMS: the documented API and its pages, on SQLite or PostgreSQL."""
