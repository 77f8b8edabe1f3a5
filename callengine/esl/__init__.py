"""The event socket: cutting its bytes, knowing its header names, building its commands, keeping the connection.

``wire`` cuts bytes into frames, ``headers`` reads facts from event bodies, ``commands`` builds what is sent,
``exchange`` says what a command, a reply and a loss are, ``client`` is one connection, ``intake`` the queue behind it,
``link`` keeps a connection up.
"""
