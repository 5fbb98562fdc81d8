"""What runs inside a compression job."""
