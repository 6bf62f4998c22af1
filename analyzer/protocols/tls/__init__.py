"""TLS, SSL 3.0 to TLS 1.3, on any port, seen from outside and, with secrets, from inside.

    frame    the kernel: records out of spans; bytes of handshakes, alerts and heartbeats are kept, bulk is stepped over
    hello, messages, fingerprint, certificate   meaning of handshake messages, from their bytes
    session  what is known of one connection     reader  ties them together, makes rows, hands plaintext on

How decryption is plugged in
----------------------------
`reader.Tls(shared, opener=...)` takes an object with the two methods of `sealed.Opener`; without one, nothing encrypted
is ever copied. With one, records of connections that are not ruled out yet are kept whole:

    wants(terms: Terms) -> bool
        Asked once a ClientHello (and, where it was captured, a ServerHello) was read, again when more became known
        (the encrypted premaster). False: the kernel steps over this connection from now on. True: records go to `open`.
    open(channel: int, terms: Terms, rows: Records, kept: U8, room: U8, at: int) -> Contents
        `rows` (n,) SEALED, all encrypted records of one connection that this batch completed, both directions, in the
        order in which they came; `kept[row.at : row.at + row.length]` are the bytes after the five-byte header, which
        is content_type, version, length. `row.whole` is 0 if bytes are missing (a hole): at is then -1, and sequence
        numbers count the record all the same. `row.lost` is 1 if framing was lost before this record, so that it is not
        known how many records came between. `row.epoch` counts the ChangeCipherSpecs of that direction before it.
        Answers for every row its inner content type, 0 if it did not authenticate, and where its content stands in
        `room`: contents follow each other from `at` on, so what is handed on is never copied.
    close(channel: int) -> Tally
        The connection is over: forget it, and say how many records were and were not opened.

`Terms` (one object per handshake of a connection, filled as messages are read; the ones not known are None or 0):

    client_random, server_random  32 bytes    version  as on the wire, 0x0303, 0x0304    cipher  suite number
    extended_master, encrypt_then_mac  agreed by both sides (RFC 7627, RFC 7366)    compression  0 = none
    session_id  of the ServerHello    encrypted_premaster  body of an RSA ClientKeyExchange without its length
    early_data  the client offered 0-RTT    retry  a HelloRetryRequest was answered
    client_dir  direction in which the ClientHello went
    handshake(n)  transcript of the messages up to and including ClientKeyExchange, for RFC 7627 with a premaster secret

Inner handshake bytes (Finished, Certificate of 1.3, NewSessionTicket, KeyUpdate), alerts and heartbeats go through the
same parsers as clear ones; application data becomes spans of a child channel (`decrypted` = 1, `parent` the channel),
each with the frame and the time of its record's last segment, and is routed by content like any other bytes.
"""
