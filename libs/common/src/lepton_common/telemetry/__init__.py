"""What a service tells about itself: log lines, metrics, traces."""
