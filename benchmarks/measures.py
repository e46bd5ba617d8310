"""The three measurements on real cases, by one command: liveness, and infrastructure found and
wrongly found.

Each has a program of its own: liveness.py and failures.py.
Ends with 1 if a target is missed, and with 2 if a collection is not there.

    python benchmarks/measures.py [FOLDER]
"""

from benchmarks import failures, liveness
from benchmarks.cases import one_after_another, report

if __name__ == "__main__":
    both = one_after_another(liveness.liveness, failures.infrastructure)
    report(__doc__, (*liveness.NEEDED, *failures.NEEDED), both)
