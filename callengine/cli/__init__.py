"""The commands. Each module here defines some of them; what a command needs is imported when it runs, not before."""
