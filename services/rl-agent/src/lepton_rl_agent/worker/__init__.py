"""What runs inside a learning run: the algorithms, and a `__main__` that the launcher starts."""
