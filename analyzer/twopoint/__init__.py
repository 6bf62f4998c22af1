"""One connection seen at two points of its path: what left here and did not arrive there, and who never sent what did.

point     what of a capture's tables is needed          pairing   which connection here is which one there
clocks    how far the clocks are apart                  crossing  what crossed, what did not: `differences`
wording   the sentences
"""
