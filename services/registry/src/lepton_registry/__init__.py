"""The registry: models, their versions and lineage, and the endpoints that say what is served."""
