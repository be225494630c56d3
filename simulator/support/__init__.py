"""Support: functions that every other package uses (checks, draws, files, statistics); it imports none of them."""
