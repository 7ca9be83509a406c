"""What is done on a server's own machine, with its configuration and its files: examine it, back it up, report on it.

Unlike the rest of `hashmatch-admin` this does not need a running server.
"""
