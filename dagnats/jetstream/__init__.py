"""The ports on NATS JetStream. Nothing else in DagNats imports ``nats``."""
