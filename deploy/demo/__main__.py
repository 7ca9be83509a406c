"""Runs the demonstration in a directory of its own below `.demo`, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import NoReturn

from deploy.demo.shell import DemoError, Shell
from deploy.demo.story import tell

DONE, FAILED, INTERRUPTED = 0, 1, 130
_FILES = Path(__file__).parent / "files"
_PLACE = Path(__file__).parents[2] / ".demo"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Run it; returns the exit code."""
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    directory: Path | None = None
    try:
        _PLACE.mkdir(exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix="run-", dir=_PLACE))
        shutil.copytree(_FILES, directory, dirs_exist_ok=True)
        tell(Shell(directory))
    except DemoError as error:
        return _fail(str(error))
    except BrokenPipeError:
        # Whoever read along has gone. Python would complain of it once more while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _fail(f"{error.filename or 'the system'}: {error.strerror}")
    except KeyboardInterrupt:
        sys.stderr.write("\ndemo: interrupted; the server was stopped\n")
        return INTERRUPTED
    finally:
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)
        with contextlib.suppress(OSError):
            _PLACE.rmdir()
    return DONE


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    # Once: a second one must not cut short the stopping of the server.
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _fail(message: str) -> int:
    sys.stderr.write(f"\ndemo: {message}\n")
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
