"""Try the product with hostile files, numbers and arguments, and say how each case ended.

    python -m tests.fuzz --n 2000 [--seed 1] [--only TARGET] [--case INDEX] [--json FILE]

It ends with 1 if a case was raw or silently different, and prints a command that repeats it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from .suite import TARGETS, fuzz, table


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--n", type=int, default=2000, help="number of cases, over all targets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=TARGETS, metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--case", type=int, metavar="INDEX", help="this case of the target alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write counts and failing cases")
    given = parser.parse_args()
    if given.case is not None and given.only is None:
        parser.error("--case needs --only TARGET")
    start = time.perf_counter()
    results = []
    for result in fuzz(given.n, given.seed, given.only, given.case):
        results.append(result)
        if result.failed:
            print(result.reproducer, flush=True)
        if given.case is not None:
            print(f"{result.about}: {result.outcome}: {result.said}")
            if result.error is not None:
                traceback.print_exception(result.error)
    wall = time.perf_counter() - start
    failing = [result for result in results if result.failed]
    table(results)
    print(f"{len(results)} cases, seed {given.seed}, {wall:.0f} s")
    if given.json is not None:
        counts = {name: Counter(x.outcome for x in results if x.target == name) for name in TARGETS}
        content = {
            "seed": given.seed,
            "wall_s": wall,
            "counts": {name: dict(count) for name, count in counts.items() if count},
            "failing": [result.reproducer for result in failing],
        }
        given.json.write_text(json.dumps(content, indent=1) + "\n")
    return 1 if failing else 0


sys.exit(main())
