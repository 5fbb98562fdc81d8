"""What benchmarks of the inference service share: models, servers on one core, clients on another."""
