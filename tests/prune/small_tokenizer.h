// A tokenizer of a few tokens, written by hand.
#pragma once

namespace kerf::test {

/// Words of "hello" and "help". hello is made as he + (l + l) + o from the right, help as (he + l) + p; hell is a token
/// that nothing makes, as l + l goes before hel + l.
inline constexpr const char* kSmallTokenizer = R"({
  "version": "1.0",
  "truncation": null,
  "padding": {
    "strategy": "BatchLongest",
    "pad_id": 1,
    "pad_token": "<s>"
  },
  "added_tokens": [
    {
      "id": 0,
      "content": "<unk>",
      "single_word": false,
      "special": true
    },
    {
      "id": 1,
      "content": "<s>",
      "special": true
    },
    {
      "id": 2,
      "content": "<unused0>",
      "special": true
    },
    {
      "id": 3,
      "content": "<unused1>",
      "special": true
    }
  ],
  "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
  "pre_tokenizer": null,
  "post_processor": {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}
  },
  "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]},
  "model": {
    "type": "BPE",
    "unk_token": "<unk>",
    "fuse_unk": true,
    "byte_fallback": false,
    "vocab": {
      "<unk>": 0,
      "<s>": 1,
      "<unused0>": 2,
      "<unused1>": 3,
      "h": 4,
      "e": 5,
      "l": 6,
      "o": 7,
      "p": 8,
      "▁": 9,
      "é": 10,
      "he": 11,
      "ll": 12,
      "lo": 13,
      "hel": 14,
      "hell": 15,
      "llo": 16,
      "hello": 17,
      "help": 18,
      "▁hello": 19,
      "▁he": 20,
      "▁help": 21
    },
    "merges": [
      ["h", "e"],
      ["l", "l"],
      ["l", "o"],
      ["he", "l"],
      ["hel", "l"],
      ["ll", "o"],
      ["he", "llo"],
      ["hell", "o"],
      ["hel", "p"],
      ["▁", "hello"],
      ["▁", "he"],
      ["▁he", "llo"],
      ["▁", "help"]
    ]
  }
})";

}  // namespace kerf::test
