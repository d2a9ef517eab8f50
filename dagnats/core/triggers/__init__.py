"""What starts runs without anyone asking: each trigger is an entity with a log of its own, folded like a run."""
