"""DagNats: a durable workflow engine for background jobs and agents, on NATS JetStream alone."""

__version__ = "0.1.0"
