"""Key images to hand out: an authenticated payload in the low bits of a picture.

    capacity_of -> seal (payload, picture -> word -> low bits) -> examine (low bits -> word -> payload, or not)

Open `key_image.py` first. A payload says who was handed a picture, to whoever holds the owner's key; a model sees
nothing of it. It authenticates the holder of a picture and says nothing about copies of a model.
"""
