"""The ports in memory: one ``World`` is the server, a ``Memory`` is one process's view of it."""
