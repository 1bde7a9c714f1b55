#!/usr/bin/env python3
"""Prints the strings of core/iq_codebooks.cc from the tables of the PyPI package gguf."""
import gguf.quants
import numpy as np

WIDTH = 110


def steps(name):
    kind = getattr(gguf.quants, name)
    kind.init_grid()
    grid = kind.grid.reshape(kind.grid_shape)
    magnitudes = np.unique(grid)
    digits = np.searchsorted(magnitudes, grid)
    numbers = digits @ len(magnitudes) ** np.arange(grid.shape[1])
    text = ""
    for step in np.diff(numbers, prepend=-1):
        assert step > 0, "not sorted"
        text += "~" * (step // 90)
        step %= 90
        text += chr(35 + step + (35 + step >= ord("\\")))
    return text


for name in ["IQ1_S", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"]:
    text = steps(name)
    print(f"// {name}, {len(text)} characters")
    for at in range(0, len(text), WIDTH):
        print(f'    "{text[at:at + WIDTH]}"')
