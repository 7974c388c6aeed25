"""What a run leaves on disk.

Run directories, status, locks, metric logs, checkpoints' outer form, tables over many runs.

Imports `config` and `errors`. No torch: listing a thousand runs must not wait for it.
"""
