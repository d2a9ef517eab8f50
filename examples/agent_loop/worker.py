"""An agent loop at its smallest: a counter that remembers how far it is."""

from dagnats import AgentContext, App, Continue

GOAL = 5

app = App("agent-loop")


@app.agent_loop(max_iterations=10)
async def counter(ctx: AgentContext[int], _input: object = None) -> dict[str, int] | Continue[int]:
    """Count one further; the checkpoint says where the last iteration stopped."""
    count = (await ctx.load_checkpoint() or 0) + 1
    print(f"iteration {count}/{GOAL}", flush=True)
    if count < GOAL:
        return Continue(count)
    return {"count": count}
