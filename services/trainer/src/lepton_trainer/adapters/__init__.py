"""The trainer's outside world: the contracts, and the services that it calls."""
