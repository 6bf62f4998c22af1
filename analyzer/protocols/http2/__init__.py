"""HTTP/2: frames of both directions, header blocks, streams as exchanges, pings."""
