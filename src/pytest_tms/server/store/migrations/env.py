"""How Alembic runs our migrations: on the connection that the caller has, in its transaction."""

from alembic import context

from pytest_tms.server.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
