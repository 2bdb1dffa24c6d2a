"""This project beside Flower and NVFlare on the same work: `roughfed bench peers`.

`flower_*.py` and `nvflare_*.py` are read by the peers' own Pythons, which need not have roughfed; nothing imports them.
"""
