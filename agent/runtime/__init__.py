"""Things that happen in time: tick, executor, loop, worker."""
