"""Run a command and print its seconds, processor seconds and peak MiB.

From a small process: what Linux says of a child's peak memory is never less than its parent's.
"""

import os
import subprocess
import sys
import time

if __name__ == "__main__":
    start = time.perf_counter()
    child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    figures = (seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
    sys.stdout.write(" ".join(map(str, (os.waitstatus_to_exitcode(status), *figures))))
