"""``callengine doctor``: looks at a live system from all sides, changes nothing, and says what to type.

``finding`` is what is found, ``visit`` goes the round, and each other module looks at one part. A look never places a
call, never writes a row or a file, never asks the switch for more than it would tell anybody.
"""
