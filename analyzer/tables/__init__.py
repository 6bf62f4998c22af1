"""The tables: their schema, how columns become Arrow, and how large ones are kept in bounded memory."""
