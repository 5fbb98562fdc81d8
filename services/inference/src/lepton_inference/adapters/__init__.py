"""The registry, as this service sees it."""
