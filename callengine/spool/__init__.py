"""The spool: what came off the socket is in a file before it is worked on, and is read again where that was cut short.

``frames`` is how a segment is written, ``segments`` the files, ``kept`` those facts of ours that exist nowhere else,
``replay`` what is done at the start with what an earlier life left behind.
"""
