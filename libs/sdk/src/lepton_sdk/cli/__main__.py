"""`python -m lepton_sdk.cli` is the `lepton` command."""

from lepton_sdk.cli import main

main()
