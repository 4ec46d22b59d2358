"""How an attempt's work is held apart from the engine, and how it is ended for certain.

`supervisor` (one small process per engine) forks a `keeper` for each process that the engine asks
for; the keeper is the parent of that process and the reaper of all that it leaves behind.
`supervision` is the engine's side of both. `pool` keeps warm Python processes (`worker`) that are
spawned the same way. The supervisor's side imports the standard library only.
"""
