"""The history of the tables, which alembic runs on a database that an older release has made.

A change of the tables is a new module in `versions/`, beside the change of `tables.py`, with its
revision put into `HEAD`. A test holds that the migrations together give what `tables.py` says.
"""

HEAD = "0001"
"""The newest revision. It stands here so that a database which has it is opened without alembic."""
