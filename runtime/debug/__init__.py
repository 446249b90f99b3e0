"""The debug socket: commands, server, client, and the REPL."""
