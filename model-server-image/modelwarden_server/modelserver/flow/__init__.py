"""The runtime of a flow, inside the child that runs the user's code: loads the files, calls one stage after
the other.

Imports nothing of ours but what is as plain as itself, and of others only what a stage needs, when it needs
it: the child runs in the user's environment, with his Python (3.8 and later) and his packages. `handler` is
what a child loads; `python -m modelwarden_server.modelserver.flow` runs one without isolation.
"""
