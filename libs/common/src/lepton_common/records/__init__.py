"""Where a service keeps its resources: protobuf messages by name, in SQLite or PostgreSQL.

    store = await ResourceStore.open("sqlite:///var/lib/lepton/registry.db")
    models = store.collection(Model)
    model = await models.create(Model(name="models/digits"))

A collection holds the resources of one message type. Every such message has the fields `name`, `uid`, `etag`,
`create_time`, `update_time` and `labels`; the store sets all but the name and the labels. Every write takes
the collection's next revision, in the order of commits, whichever process writes: an etag is the
revision of a resource's last write, and to watch a collection is to follow its revision.
"""

from lepton_common.records.collection import Collection
from lepton_common.records.paging import Page
from lepton_common.records.rows import Rows, check_etag
from lepton_common.records.store import ResourceStore, Transaction

__all__ = ["Collection", "Page", "ResourceStore", "Rows", "Transaction", "check_etag"]
