"""`python -m paper_repro`."""

import gc
import os
import sys

from paper_repro.cli import INTERRUPTED, main
from pgdyn import compilation_cache

if __name__ == "__main__":  # not in the processes that it starts
    compilation_cache.enable()
    code = main()
    if code == INTERRUPTED:
        # A compiled computation may still be running on a thread of its own, and would crash when the interpreter is
        # taken down under it. Everything is written by now.
        gc.collect()  # and with it what processes shared
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
