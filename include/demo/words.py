"""What the shop is made of: names, goods, and the kinds of dirt real systems write."""

from __future__ import annotations

FIRST = (
    "Amina", "Björn", "Chiara", "Đorđe", "Élodie", "Farid", "Grzegorz", "Hannah", "İbrahim",
    "Jörg", "Kofi", "Łucja", "Mei", "Noël", "Oksana", "Priya", "Quentin", "Renée", "Søren", "Tomás",
)  # fmt: skip
LAST = (
    "Abbott", "Bianchi", "Çelik", "Dvořák", "Eriksen", "Fischer", "García", "Horváth", "Ivanova",
    "Jansen", "Kowalska", "Lefèvre", "Müller", "Nakamura", "O'Brien", "Petrović", "Quispe", "Rossi",
    "Šimić", "Tanaka",
)  # fmt: skip
COUNTRIES = ("DE", "FR", "PL", "IT", "NL", "JP", "GB")
THINGS = ("Kettle", "Lamp", "Mug", "Notebook", "Rug", "Clock", "Vase", "Chair", "Teapot", "Basket")
LOOKS = ("Blue", "Oak", "Enamel", "Woven", "Brass", "Tiny", "Grand", "Vintage", "Plain", "Striped")
CATEGORIES = {
    "Kettle": "kitchen", "Lamp": "light", "Mug": "kitchen", "Notebook": "paper", "Rug": "textile",
    "Clock": "light", "Vase": "decor", "Chair": "furniture", "Teapot": "kitchen", "Basket": "decor",
}  # fmt: skip
NOTES = (
    None, None, None, "", "Ring twice", "Leave with the neighbour", "Gift 🎁 please wrap",
    "Merci beaucoup 🙏", "  call before delivery  ", "Thank you 😀",
)  # fmt: skip
STATUSES = ("new", "paid", "packed", "shipped", "done")
"""The life of an order, in this order."""

SPELLINGS = {
    "new": ("new", "NEW", "open"), "paid": ("paid", "Paid", "payed"), "packed": ("packed",),
    "shipped": ("shipped", "SHIPPED ", "sent"), "done": ("done", "Done"),
}  # fmt: skip
"""The same status as different tills write it; the pipeline file maps them back."""

UNKNOWN_STATUSES = ("???", "zzz", "on the moon")
BROKEN_DATES = ("2026-02-30", "tomorrow", "0000-00-00")
BROKEN_PRICES = ("call us", "n/a", "12,34,5x")
