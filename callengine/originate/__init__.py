"""Placing calls and acting on live ones: what may be asked, how fast it is done, and what becomes of it.

``request`` turns a request into a plan, ``pacing`` says when one may be sent, ``originator`` sends it once, and
``control`` is what the API calls.
"""
