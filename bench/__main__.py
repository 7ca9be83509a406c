"""`python -m bench NAME`: one JSON object a line on standard output, progress on standard error."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence

import grpc
import uvloop

from bench import exact, footprint, formats, ingest, latency, pdq, pdq_service, pictures, scale, size, trust, update
from bench.harness import BenchmarkError
from bench.report import Effort, Reporter, machine

Benchmark = Callable[[Reporter, Effort], Awaitable[None]]
BENCHMARKS: dict[str, Benchmark] = {
    "exact": exact.run,
    "latency": latency.run,
    "ingest": ingest.run,
    "footprint": footprint.run,
    "formats": formats.run,
    "update": update.run,
    "pictures": pictures.run,
    "pdq": pdq.run,
    "pdq-service": pdq_service.run,
    "trust": trust.run,
    "scale": scale.run,
    "size": size.run,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked for. Returns 1 if a benchmark got a wrong answer or could not be run."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measures the server against comparators. See docs/benchmarks.md."
    )
    parser.add_argument("name", metavar="NAME", choices=(*BENCHMARKS, "all"), help=", ".join((*BENCHMARKS, "all")))
    parser.add_argument(
        "--quick", action="store_true", help="less than a minute each, with 300,000 entries and fewer repetitions"
    )
    # For the tests of the benchmarks.
    parser.add_argument("--entries", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    # So that what was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    effort = Effort.of(quick=arguments.quick, entries=arguments.entries)
    conditions = machine(quick=arguments.quick)
    for name in BENCHMARKS if arguments.name == "all" else (arguments.name,):
        try:
            uvloop.run(BENCHMARKS[name](Reporter(name, conditions), effort))
        except (BenchmarkError, grpc.RpcError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
