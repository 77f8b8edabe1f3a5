"""``callengine demo``: the daemon, a stand-in switch, a stream of calls, and a live view of them in the terminal.

The view reads the daemon's API like anybody else; nothing here looks into the daemon or its database.
"""
