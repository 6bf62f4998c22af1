"""Heartbeats of protocols whose messages are not tables of their own: MQTT, Redis and others, a small file each.

A protocol has two functions. `looks_like_X` says from the first bytes of a direction whether it is X. `take_X` is shown
each piece that it asked for, a line or a number of bytes, and says what that was. To add one: its kind and name in
`state`, both functions in `kinds`, how its answers are found in `protocols.beats.PAIRING`.
"""
