"""The contract, and the tools that make and check its stubs."""
