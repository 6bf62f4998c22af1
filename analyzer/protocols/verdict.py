"""What a protocol answers when it is shown the first bytes of a stream."""

NO, YES, MORE = 0, 1, 2
