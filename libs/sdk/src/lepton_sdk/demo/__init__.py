"""The whole story on one machine: real images become a dataset version, a trained, a compressed and a
served model, and an agent learns to balance a pole. `lepton demo` runs it."""
