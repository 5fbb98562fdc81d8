"""The agent service's outside world: the contracts, its stores, and the services that it calls."""
