#!/usr/bin/env python3
"""Writes model/text/unicode_tables.cc: which code points belong to the classes that tokenizers split by.

The classes are asked from the Hugging Face `tokenizers` library itself (PyPI, version printed into the file), code
point by code point, because it mixes three Unicode versions: that of its regex engine (\\p{L}, \\p{N}), of Rust's
standard library (digits), and Unicode 9 for normalisation.

    python make_unicode_tables.py > ../../../../model/text/unicode_tables.cc
"""
import sys
import unicodedata

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE

POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
EVERYTHING = "".join(map(chr, POINTS))


def of_class(negated):
    return {ord(c) for c in normalizers.Replace(Regex(negated), "").normalize_str(EVERYTHING)}


def numeric():
    digits, found = pre_tokenizers.Digits(individual_digits=True), set()
    for i in range(0, len(POINTS), 4096):
        text = "a" + "".join(chr(c) + "a" for c in POINTS[i : i + 4096])
        found |= {ord(p) for p, _ in digits.pre_tokenize_str(text) if len(p) == 1 and p != "a"}
    return found


def word():
    """Characters that keep a single_word token from matching."""
    t = Tokenizer(BPE({"\ue000": 0}, []))  # of what is not the added token, nothing but this yields an id
    t.add_tokens([AddedToken("<q>", single_word=True, normalized=False)])
    return {c for c in POINTS if not t.encode("<q>" + chr(c)).ids}


def nfc_sets():
    """(characters that NFC may change, reorder or join to the one before, characters that may join with the next)."""
    nfc, nfd = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str
    active, first = set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3)), set(range(0x1100, 0x1113))
    for c in POINTS:
        s = chr(c)
        if nfc(s) != s:
            active.add(c)
        # U+0345 has the highest combining class in use (240): every other reordrant character moves before it.
        if unicodedata.combining(s) and (s == "\u0345" or nfd("a\u0345" + s) != "a\u0345" + s):
            active.add(c)
        if nfd(s) != s:
            first.add(c)  # one of its parts may join or change places with what follows
        parts = unicodedata.decomposition(s).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            a, b = (chr(int(p, 16)) for p in parts)
            if nfc(a + b) == s:
                first.add(ord(a))
                active.add(ord(b))
    return active, first


def table(name, comment, points):
    numbers, end = [], 0
    points = sorted(points)
    i = 0
    while i < len(points):
        j = i
        while j + 1 < len(points) and points[j + 1] == points[j] + 1:
            j += 1
        numbers += [points[i] - end, points[j] + 1 - points[i]]
        end = points[j] + 1
        i = j + 1
    lines, line = [], "   "
    for n in numbers:
        if len(line) + len(str(n)) + 2 > 119:
            lines.append(line)
            line = "   "
        line += f" {n},"
    lines.append(line)
    body = "\n".join(lines)
    return f"// {comment}\nconst uint32_t {name}[] = {{\n{body}\n}};\n"


def main():
    letters, numbers, spaces, digits = of_class(r"[^\p{L}]"), of_class(r"[^\p{N}]"), of_class(r"[^\s]"), numeric()
    assert numbers <= digits
    active, first = nfc_sets()
    print(f"""// Which code points belong to the classes that tokenizers split by, as runs: gap since the end of the last one, length.
// Written by tests/model/goldens/tokenizer/make_unicode_tables.py from the answers of Hugging Face tokenizers
// {tokenizers.__version__}.
#include "model/text/unicode.h"

// clang-format off
namespace kerf::unicode_tables {{
namespace {{""")
    print(table("kLetter", r"\p{L}", letters))
    print(table("kNumber", r"\p{N}", numbers))
    print(table("kNewerDigit", "numeric for the Digits pre-tokenizer beyond \\p{N}: assigned after the regex engine's Unicode", digits - numbers))
    print(table("kSpace", r"\s, which is White_Space", spaces))
    print(table("kWord", r"\w: what a single_word token must not touch", word()))
    print(table("kNfcActive", "changed, reordered or joined to its left by NFC of Unicode 9", active))
    print(table("kNfcFirst", "may join with a character on its right in NFC of Unicode 9", first), end="")
    print("""}  // namespace

const Runs runs[] = {
    {kLetter, kLetterClass}, {kNumber, kNumberClass | kDigitClass}, {kNewerDigit, kDigitClass},
    {kSpace, kSpaceClass},   {kWord, kWordClass},                   {kNfcActive, kNfcActiveClass},
    {kNfcFirst, kNfcFirstClass},
};
const size_t run_count = sizeof runs / sizeof runs[0];
}  // namespace kerf::unicode_tables
// clang-format on""")


if __name__ == "__main__":
    sys.exit(main())
