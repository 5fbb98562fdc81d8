"""The registry's resources in the resource store."""
