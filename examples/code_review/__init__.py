"""A durable code reviewer: an agent with real tools, killed half-way, finished all the same."""
