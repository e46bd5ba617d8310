"""Decisions only: no I/O, no clock, no randomness, no logging, no async.

Time comes in with the snapshot (`Snapshot.now`), numbers and rules come in with the policy, and
what comes out is a value with its reason. `lint-imports` and `tests/test_house.py` keep it so.

A newcomer's tour: `model` (the nouns), `planner` (the four questions and `decide`), `guard`
(what must never happen), then `runtime/tick.py` (the world around it) and `wiring.py`.
"""
