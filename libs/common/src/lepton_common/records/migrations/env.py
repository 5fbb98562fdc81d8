"""What alembic runs: the migrations, on the connection and in the transaction of the caller."""

from alembic import context

from lepton_common.records.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
