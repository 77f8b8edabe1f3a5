"""Recordings: their files, whether they can be played, where they are kept, who may hear them and for how long."""
