#include "load/text.h"

#include <array>

#include "weir/random.h"

namespace weir::load {
namespace {

// 256 words, so that one random byte picks one.
constexpr std::array<std::string_view, 256> kWords = {
    "time",       "year",     "people",       "way",       "day",          "man",
    "thing",      "woman",    "life",         "child",     "world",        "school",
    "state",      "family",   "student",      "group",     "country",      "problem",
    "hand",       "part",     "place",        "case",      "week",         "company",
    "system",     "program",  "question",     "work",      "government",   "number",
    "night",      "point",    "home",         "water",     "room",         "mother",
    "area",       "money",    "story",        "fact",      "month",        "lot",
    "right",      "study",    "book",         "eye",       "job",          "word",
    "business",   "issue",    "side",         "kind",      "head",         "house",
    "service",    "friend",   "father",       "power",     "hour",         "game",
    "line",       "end",      "member",       "law",       "car",          "city",
    "community",  "name",     "president",    "team",      "minute",       "idea",
    "kid",        "body",     "information",  "back",      "parent",       "face",
    "others",     "level",    "office",       "door",      "health",       "person",
    "art",        "war",      "history",      "party",     "result",       "change",
    "morning",    "reason",   "research",     "girl",      "guy",          "moment",
    "air",        "teacher",  "force",        "education", "foot",         "boy",
    "age",        "policy",   "music",        "market",    "sense",        "nation",
    "plan",       "college",  "interest",     "death",     "experience",   "effect",
    "use",        "class",    "control",      "field",     "development",  "role",
    "effort",     "rate",     "heart",        "drug",      "show",         "leader",
    "light",      "voice",    "wife",         "police",    "mind",         "price",
    "report",     "decision", "son",          "view",      "relationship", "town",
    "road",       "arm",      "difference",   "value",     "building",     "action",
    "season",     "society",  "tax",          "director",  "position",     "player",
    "record",     "paper",    "space",        "ground",    "form",         "event",
    "official",   "matter",   "center",       "couple",    "site",         "project",
    "activity",   "star",     "table",        "need",      "court",        "oil",
    "situation",  "cost",     "industry",     "figure",    "street",       "image",
    "phone",      "data",     "picture",      "practice",  "piece",        "land",
    "product",    "doctor",   "wall",         "patient",   "worker",       "news",
    "test",       "movie",    "north",        "love",      "support",      "technology",
    "step",       "baby",     "computer",     "type",      "attention",    "film",
    "tree",       "source",   "organization", "hair",      "look",         "window",
    "culture",    "chance",   "brother",      "energy",    "period",       "course",
    "summer",     "plant",    "opportunity",  "term",      "letter",       "condition",
    "choice",     "rule",     "south",        "floor",     "campaign",     "material",
    "population", "call",     "economy",      "hospital",  "church",       "risk",
    "fire",       "future",   "bank",         "blood",     "east",         "west",
    "public",     "sea",      "red",          "green",     "blue",         "small",
    "large",      "long",     "short",        "early",     "late",         "young",
    "old",        "new",      "good",         "high",      "low",          "open",
    "close",      "start",    "left",         "more",
};

// Bytes of the UTF-8 sequence that `text` starts with, or 0 if it starts with none.
size_t SequenceSize(std::string_view text) noexcept {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  size_t size = 1;
  if (lead >= 0x80)
    size = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (size == 0 || size > text.size()) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if (lead == 0xE0 && byte(1) < 0xA0) return 0;
  if (lead == 0xED && byte(1) >= 0xA0) return 0;
  if (lead == 0xF0 && byte(1) < 0x90) return 0;
  if (lead == 0xF4 && byte(1) >= 0x90) return 0;
  return size;
}

}  // namespace

uint64_t MixSeed(uint64_t a, uint64_t b) noexcept {
  uint64_t state = a;
  uint64_t mixed = SplitMix64(state) ^ (b + 0x9E3779B97F4A7C15ull);
  return SplitMix64(mixed);
}

void AppendWords(uint64_t seed, uint32_t word_count, std::string& out) {
  uint64_t state = seed;
  uint64_t bits = 0;
  for (uint32_t i = 0; i < word_count; ++i) {
    if (i % 8 == 0) bits = SplitMix64(state);
    out += ' ';
    out += kWords[bits & 0xFF];
    bits >>= 8;
  }
}

void AppendJsonEscaped(std::string_view text, std::string& out) {
  static constexpr char kHex[] = "0123456789abcdef";
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
      ++i;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += "\\u00";
      out += kHex[(c >> 4) & 0xF];
      out += kHex[c & 0xF];
      ++i;
    } else if (const size_t size = SequenceSize(text.substr(i)); size > 0) {
      out.append(text, i, size);
      i += size;
    } else {
      out += "\xEF\xBF\xBD";
      ++i;
    }
  }
}

}  // namespace weir::load
