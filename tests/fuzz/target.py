"""One target of the fuzzer: `python -m tests.fuzz.target TARGET FOLDER [LIBFUZZER'S OPTIONS]`.

libFuzzer keeps what it finds in FOLDER, which gets valid deliveries to begin with. It ends the process at the first
input for which something does not hold, which it writes down; given as a file in the place of FOLDER, such an input is
read once more.
"""

from __future__ import annotations

import pkgutil
import sys
from pathlib import Path

import atheris

import hashmatch.formats

# They are compiled from their bytecode, which has to stay as it is.
_KERNELS = [
    f"hashmatch.formats.{module.name}"
    for module in pkgutil.iter_modules(hashmatch.formats.__path__)
    if "kernel" in module.name
]

with atheris.instrument_imports(include=["hashmatch.formats"], exclude=_KERNELS):
    from hashmatch.formats import _text
    from tests.fuzz.checks import Check


def main(target: str, place: str, *options: str) -> None:
    """Fuzz, until libFuzzer ends the process."""
    # Pieces cut from an input are read as they are: else all that is small would be put together to one block.
    _text.BLOCK_SIZE = 1
    check = Check(target)
    # Compiles the kernels, which counts neither as time nor as memory of an input.
    for seed in check.seeds:
        check(seed)
    path = Path(place)
    if not path.is_file():
        path.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(check.seeds):
            (path / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *options, place], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
