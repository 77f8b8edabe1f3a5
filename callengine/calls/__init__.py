"""What a call is: facts, the pure state machine over them, and the book of live calls.

Nothing in here does I/O, knows a header name, or reads a clock: facts and the time come in, calls and effects go out.
"""
