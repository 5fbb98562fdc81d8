"""How good answers are, computed from labels and answers alone: numpy and nothing else.

`report` puts everything together as the document that lies beside a model version.
"""
