"""The whole story: real images become a dataset version, a trained, a compressed and a served model, and an
agent learns to balance a pole. `lepton demo` tells it, with services of its own or with those that run."""
