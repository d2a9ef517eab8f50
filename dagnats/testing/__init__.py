"""Testing workflows: in memory, in virtual time; and replaying runs that were exported from production.

from dagnats.testing import in_memory, virtual_time

@virtual_time
async def test_silence_is_a_no():
async with in_memory(app):
handle = await publish.start("draft")       # asks for an approval within 24 hours
with pytest.raises(RunFailed):
await handle.result()                   # at once: time jumps
"""

from dagnats.testing.exported import replay
from dagnats.testing.loop import run, virtual_time
from dagnats.testing.sandbox import Sandbox, in_memory, run_workflow

__all__ = ["Sandbox", "in_memory", "replay", "run", "run_workflow", "virtual_time"]
