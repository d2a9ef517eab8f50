"""Gates: limits as entities with a log of their own. Tickets ask, the gate grants, in the order of its facts.

One gate holds all the limits of a task, or of a workflow's runs: how many at once, how many in a period, for
everybody and for each key. A ticket is let through when all of them allow it, at one moment, so nothing is held
while waiting for something else.

``meters`` count what there is of each limit, ``lines`` hold who waits, ``gate`` folds facts into both, ``stored`` is a
gate as bytes, ``view`` what people see of one.
"""
