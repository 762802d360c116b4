"""Three typed functions: how alike two texts are, how far two places, and a rule of prices over a document."""

import string
from collections import Counter
from math import asin, cos, radians, sin, sqrt

import spore

LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def similarity(a, b):
    """Sørensen and Dice's: twice the bigrams that both have, of all."""
    a, b = a.translate(LOWER), b.translate(LOWER)
    if a == b:
        return 1.0
    if len(a) < 2 or len(b) < 2:
        return 0.0
    common = Counter(zip(a, a[1:])) & Counter(zip(b, b[1:]))
    return 2 * sum(common.values()) / (len(a) - 1 + len(b) - 1)


def distance(lat1, lon1, lat2, lon2):
    """In km, by the haversine formula."""
    x, y = sin(radians(lat2 - lat1) / 2), sin(radians(lon2 - lon1) / 2)
    h = x * x + cos(radians(lat1)) * cos(radians(lat2)) * y * y
    return 2 * 6371.0088 * asin(sqrt(min(h, 1.0)))


def price(base):
    """The document's own price, if it has one, with what the rules make of it."""
    document = spore.document
    amount = document.get_f64("price.amount")
    stock = document.get_s64("stock")
    result = base if amount is None else amount
    if document.get_bool("member"):
        result *= 0.9
    if document.get_string("category") == "book":
        result *= 0.95
    if stock is not None and stock < 3:
        result *= 1.2
    if document.get_string("tags[0]") == "sale":
        result *= 0.5
    return result
