"""What runs as a job: building a dataset version."""
