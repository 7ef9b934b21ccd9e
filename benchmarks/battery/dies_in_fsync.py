"""`accord` that is killed in its N-th fsync: python dies_in_fsync.py N run recipe.yaml …"""

import itertools
import os
import signal
import sys

from accord.cli.main import main

number, last, fsync = itertools.count(1), int(sys.argv.pop(1)), os.fsync


def dying(handle: int) -> None:
    if next(number) == last:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)


os.fsync = dying
main()
