"""Fuzzes the package; see README.md.

Usage: python tests/fuzz/run.py [--seconds N | --inputs N] [--seed N] [--memory GB] [TARGET ...]
       python tests/fuzz/run.py --again FILE
"""

import argparse
import faulthandler
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from targets import TARGETS

_PATIENCE = 2  # seconds of a processor for an input, on machines that do other work as well
_LOST = 60  # seconds after which an input hangs
_STEP = 1000  # inputs between looks at the clock, and between lines


class TooSlow(BaseException):
    """An input took more than its time; not an Exception, so that nothing handles it."""


def _give_up(*_):
    raise TooSlow


def _set_timers(patience, lost):
    signal.setitimer(signal.ITIMER_PROF, patience)
    signal.setitimer(signal.ITIMER_REAL, lost)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=3600, help="for all targets together")
    parser.add_argument("--inputs", type=int, help="for all targets together, in place of seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", type=float, default=4, help="limit in GB of address space")
    parser.add_argument("--found", type=Path, default=Path("found"), help="folder for findings")
    parser.add_argument("--again", type=Path, metavar="FILE", help="feed one finding again")
    options = parser.parse_args()
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"there are no targets {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GDNCODEC_MODELS"] = folder
        if options.again:
            name = options.again.name.split("-")[0]
            taken = TARGETS[name](folder, 0).run(options.again.read_bytes())
            print(name, "taken" if taken else "refused")
            return
        names = options.targets or list(TARGETS)
        codes = [_in_a_process(name, folder, options, len(names)) for name in names]
    sys.exit(any(codes))


def _in_a_process(name, folder, options, share):
    """Fuzz a target in a process of its own, so that its memory is counted alone."""
    child = os.fork()
    if child == 0:
        faulthandler.enable()
        try:
            code = _fuzz(name, folder, options, share)
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _fuzz(name, folder, options, share):
    target = TARGETS[name](folder, options.seed)
    for number in range(20):  # what is imported at first use takes its time
        target.run(target.input(number))
    size = int(options.memory * 1e9)
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    signal.signal(signal.SIGALRM, _give_up)
    signal.signal(signal.SIGPROF, _give_up)
    until = time.monotonic() + options.seconds / share
    number = taken = found = 0
    slowest = 0.0
    while number * share < options.inputs if options.inputs else time.monotonic() < until:
        for _ in range(_STEP):
            data = target.input(number)
            began = time.process_time()
            try:
                _set_timers(_PATIENCE, _LOST)
                taken += target.run(data)
                _set_timers(0, 0)
            except BaseException as error:
                _set_timers(0, 0)
                if isinstance(error, KeyboardInterrupt):
                    raise
                found += 1
                _keep(options.found / f"{name}-{options.seed}-{number}.bin", data)
            slowest = max(slowest, time.process_time() - began)
            number += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(
        f"{name}: {number} inputs, {taken} taken, {found} findings; "
        f"slowest {slowest:.2f} s of a processor, peak {peak:.0f} MB",
        flush=True,
    )
    return bool(found)


def _keep(path, data):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    print(f"{path}:", *traceback.format_exc().splitlines()[-12:], sep="\n  ", flush=True)


if __name__ == "__main__":
    main()
