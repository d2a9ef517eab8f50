"""The process that advances runs: reads facts, folds them, writes what follows. It never sees user code."""
