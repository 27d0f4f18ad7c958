"""The local server: one server per data dir that all pytest runs of a user share, started on demand.

``launcher`` finds, starts and stops it; ``lifetime`` decides in the server when to stop. Both communicate by
the files of the data dir: ``local.json`` names the running server (``state_file``), ``local.lock`` serialises
starting and stopping, and ``sessions/`` has one file per process that uses the server.

``python -m pytest_tms.server.local`` is how the plugin starts it. It loads neither the web framework nor the
database if the server runs already.
"""
