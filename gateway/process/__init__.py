"""The gateway as a process: signals and exit codes, its log, its reloads, its service manager.

Must never know: rooms. It runs `gateway.runtime.running.run` and hands over what it is told.
"""
