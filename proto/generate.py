"""Makes `hashmatch/v1` from the contract, or checks that it is what the contract makes (`--check`)."""

from __future__ import annotations

import argparse
import filecmp
import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).resolve().parent
PLUGINS = ("mypy", "mypy_grpc")
STUBS = PROTO.parent / "hashmatch" / "v1"


def generate(into: Path) -> None:
    """Write the stubs of every contract file below `into`."""
    contracts = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    arguments = [
        "protoc",
        f"--proto_path={PROTO}",
        f"--proto_path={files('grpc_tools') / '_proto'}",
        *(f"--plugin=protoc-gen-{name}={Path(sys.executable).parent / f'protoc-gen-{name}'}" for name in PLUGINS),
        f"--python_out={into}",
        f"--grpc_python_out={into}",
        f"--mypy_out=quiet:{into}",
        f"--mypy_grpc_out=quiet:{into}",
        *contracts,
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed; its message is above")
    package = into / "hashmatch" / "v1"
    for empty in package.glob("*_pb2_grpc.py"):
        # protoc also makes service stubs for files that define no service.
        if "Stub" not in empty.read_text(encoding="utf-8"):
            empty.unlink()
            empty.with_suffix(".pyi").unlink(missing_ok=True)
    (package / "__init__.py").write_text('"""Generated from proto/hashmatch/v1; never edited by hand."""\n', "utf-8")


def main() -> None:
    """Make or check the stubs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the stubs are not up to date")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        made = Path(scratch) / "hashmatch" / "v1"
        names = {path.name for path in made.iterdir()}
        present = {path.name for path in STUBS.iterdir() if path.is_file()} if STUBS.exists() else set()
        if check:
            _, different, missing = filecmp.cmpfiles(made, STUBS, sorted(names), shallow=False)
            drift = sorted({*different, *missing, *(present - names)})
            if drift:
                sys.exit(f"stubs differ from the contract: {', '.join(drift)}; run `make proto` and commit")
            return
        STUBS.mkdir(parents=True, exist_ok=True)
        for name in present - names:
            (STUBS / name).unlink()
        for name in names:
            shutil.copyfile(made / name, STUBS / name)


if __name__ == "__main__":
    main()
