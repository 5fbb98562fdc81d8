"""What happens around every call: one chain of stages for all four kinds of methods.

From the outside in: request id, log line and metrics (`observation`), trace (`telemetry.tracing`),
errors to statuses (`answers`), draining and deadlines (`lifetime`), authentication and
authorisation (`access`), validation of each request message (`validation`), the servicer.
"""
