"""The registry's schema, as Alembic revisions; `tasks.core.registry.Registry` applies them."""
