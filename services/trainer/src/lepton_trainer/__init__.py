"""Training jobs: models trained on dataset versions and registered with where they came from.

The process that answers calls accepts jobs, starts their workers and registers what they made; it
loads no TensorFlow. The work itself is `lepton_trainer.worker`, a process of its own per worker.
"""
