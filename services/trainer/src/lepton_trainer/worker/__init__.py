"""What runs inside a training job: a process of its own, `python -m lepton_trainer.worker`.

It is told everything by the job's spec in the object store, and leaves everything there: checkpoints, the
trained model and the outcome.
"""
