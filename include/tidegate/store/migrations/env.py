"""Run by Alembic: it migrates on the connection, and in the transaction, that it is handed."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="tidegate_schema",
    transactional_ddl=True,
)
context.run_migrations()
