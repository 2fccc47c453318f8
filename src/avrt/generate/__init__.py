"""Generation: trace, merge, build, stats. The ledger keeps every call; the rest derives from it."""
