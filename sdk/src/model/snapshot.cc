#include "model/snapshot.h"

namespace weir::internal {

void Membership::Index() {
  ids.clear();
  slots.clear();
  names.clear();
  addresses.clear();
  label_values.clear();
  label_columns.clear();
  no_label.assign(rows.size(), WEIR_LABEL_ABSENT);
  for (uint32_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    ids.push_back(row.id);
    slots.push_back(row.id.slot);
    names.push_back({row.full_name.data(), row.full_name.size()});
    addresses.push_back({row.address.data(), row.address.size()});
    for (const auto& [key, value] : row.labels) {
      const auto number = static_cast<uint32_t>(label_values.size() + 1);
      const uint32_t interned = label_values.emplace(value, number).first->second;
      std::vector<uint32_t>& column = label_columns[key];
      column.resize(rows.size(), WEIR_LABEL_ABSENT);
      column[i] = interned;
    }
  }
}

std::optional<std::string_view> Snapshot::label(uint32_t index, std::string_view key) const {
  const auto& labels = members->rows[index].labels;
  const auto found = labels.find(std::string(key));
  if (found == labels.end()) return std::nullopt;
  return found->second;
}

const uint32_t* Snapshot::LabelColumn(std::string_view key) const noexcept {
  const auto found = members->label_columns.find(key);
  return found == members->label_columns.end() ? members->no_label.data() : found->second.data();
}

uint32_t Snapshot::LabelValue(std::string_view value) const noexcept {
  const auto found = members->label_values.find(value);
  return found == members->label_values.end() ? WEIR_LABEL_UNKNOWN : found->second;
}

}  // namespace weir::internal
