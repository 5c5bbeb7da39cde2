#include "elf_exports.h"

#include <elf.h>

#include <cstring>

namespace weir::plugin_check {
namespace {

// Reads values at checked offsets of the file.
class Image {
 public:
  explicit Image(std::string_view bytes) : bytes_(bytes) {}

  template <class T>
  bool Read(uint64_t offset, T* value) const {
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof(T)) return false;
    std::memcpy(value, bytes_.data() + offset, sizeof(T));
    return true;
  }
  // The text at an offset of a string table, empty if it runs out of the table.
  std::string Text(const Elf64_Shdr& table, uint64_t offset) const {
    if (table.sh_offset > bytes_.size() || table.sh_size > bytes_.size() - table.sh_offset ||
        offset >= table.sh_size) {
      return {};
    }
    const std::string_view rest = bytes_.substr(table.sh_offset, table.sh_size).substr(offset);
    const size_t end = rest.find('\0');
    return end == std::string_view::npos ? std::string() : std::string(rest.substr(0, end));
  }

 private:
  std::string_view bytes_;
};

bool IsExported(const Elf64_Sym& symbol) {
  const auto binding = ELF64_ST_BIND(symbol.st_info);
  const auto visibility = ELF64_ST_VISIBILITY(symbol.st_other);
  return symbol.st_shndx != SHN_UNDEF &&
         (binding == STB_GLOBAL || binding == STB_WEAK || binding == STB_GNU_UNIQUE) &&
         (visibility == STV_DEFAULT || visibility == STV_PROTECTED);
}

absl::Status Broken(const char* what) { return absl::InvalidArgumentError(what); }

}  // namespace

absl::StatusOr<std::vector<std::string>> ElfExports(std::string_view bytes) {
  const Image image(bytes);
  Elf64_Ehdr header;
  if (!image.Read(0, &header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
    return Broken("not an ELF file");
  }
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
      header.e_type != ET_DYN) {
    return Broken("not a 64-bit little-endian shared object");
  }
  const auto section = [&](uint64_t index, Elf64_Shdr* value) {
    return index < header.e_shnum && header.e_shoff <= kLibraryBytesMax &&
           image.Read(header.e_shoff + index * sizeof(Elf64_Shdr), value);
  };
  Elf64_Shdr table{};
  uint64_t at = 0;
  while (section(at, &table) && table.sh_type != SHT_DYNSYM) ++at;
  Elf64_Shdr names;
  if (at >= header.e_shnum || table.sh_type != SHT_DYNSYM || !section(table.sh_link, &names)) {
    return Broken("no dynamic symbol table");
  }
  const uint64_t count = table.sh_size / sizeof(Elf64_Sym);
  if (count > kExportsMax || table.sh_offset > kLibraryBytesMax) {
    return Broken("dynamic symbol table too large");
  }
  std::vector<std::string> exports;
  for (uint64_t i = 1; i < count; ++i) {
    Elf64_Sym symbol;
    if (!image.Read(table.sh_offset + i * sizeof(Elf64_Sym), &symbol)) {
      return Broken("dynamic symbol table runs out of the file");
    }
    if (IsExported(symbol)) exports.push_back(image.Text(names, symbol.st_name));
  }
  return exports;
}

}  // namespace weir::plugin_check
