#include "model/snapshot.h"

#include <algorithm>

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

void AdapterTable::Index() {
  none.clear();
  holders.clear();
  for (uint32_t row = 0; row < rows.size(); ++row) {
    const EndpointAdapters& one = rows[row];
    const auto used = static_cast<uint32_t>(one.active.size() + one.waiting.size());
    none.push_back({WEIR_ADAPTER_ABSENT, used, one.adapters_max, 0});
    for (const std::string& name : one.waiting)
      holders[name].push_back({row, WEIR_ADAPTER_WAITING});
    for (const std::string& name : one.active) holders[name].push_back({row, WEIR_ADAPTER_ACTIVE});
  }
}

void Snapshot::AdapterColumn(std::string_view name, const uint32_t* rows, uint32_t count,
                             weir_adapter* out) const noexcept {
  const AdapterTable& table = *adapter_table;
  for (uint32_t i = 0; i < count; ++i) out[i] = table.none[rows == nullptr ? i : rows[i]];
  const auto found = table.holders.find(name);
  if (found == table.holders.end()) return;
  for (const auto& [row, state] : found->second) {
    uint32_t index = row;
    if (rows != nullptr) {
      const uint32_t* at = std::lower_bound(rows, rows + count, row);
      if (at == rows + count || *at != row) continue;
      index = static_cast<uint32_t>(at - rows);
    }
    if (index < count) out[index].state = state;
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
