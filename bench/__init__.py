"""The benchmarks: `python -m bench NAME`. See docs/benchmarks.md for what each number means."""
