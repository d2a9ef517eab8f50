"""The process that runs user code: takes tickets, calls functions, answers with one outcome each."""
