"""`curation worker` or `curation beat` with the stub for a model: `python -m tests.workers.fleet worker [SKEW]`.

A process started with SKEW lives so many seconds in the future, in everything that Python tells it of the time.
"""

from __future__ import annotations

import os
import sys
import time

import tests.workers.stub
import workers.presence
from curation.cli.main import main

# Both at import: a spawned process imports this file anew before it starts.
tests.workers.stub.install()
workers.presence.DEAF_AFTER = int(os.environ.get("TEST_DEAF_AFTER", workers.presence.DEAF_AFTER))
if len(sys.argv) > 2:
    skew, real_time = float(sys.argv[2]), time.time
    time.time = lambda: real_time() + skew

if __name__ == "__main__":
    del sys.argv[2:]
    main()
