"""Agents: they act, hear how good it was, and learn from it.

spaces, exploration      what an agent sees and does, and how it chooses
environments             the simulated worlds of Gymnasium
agent                    what an agent is: its defaults and its rules
policy, acting           a learned policy, and acting by it
decisions, transitions   what was chosen and what became of it, to act on and to learn from
kind                     learning runs as jobs
worker/                  learning itself; the only part that loads TensorFlow
"""
