"""The demonstration: `python -m deploy.demo`, or `make demo`."""
