// Columns of Python values as a stream of the Arrow C data interface, without any Arrow library.
// The structs are those of the specification (arrow.apache.org, "The Arrow C stream interface").
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "native.h"

namespace weir::python {
namespace {

extern "C" {
struct ArrowSchema {
  const char* format;
  const char* name;
  const char* metadata;
  int64_t flags;
  int64_t n_children;
  ArrowSchema** children;
  ArrowSchema* dictionary;
  void (*release)(ArrowSchema*);
  void* private_data;
};
struct ArrowArray {
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void** buffers;
  ArrowArray** children;
  ArrowArray* dictionary;
  void (*release)(ArrowArray*);
  void* private_data;
};
struct ArrowArrayStream {
  int (*get_schema)(ArrowArrayStream*, ArrowSchema* out);
  int (*get_next)(ArrowArrayStream*, ArrowArray* out);
  const char* (*get_last_error)(ArrowArrayStream*);
  void (*release)(ArrowArrayStream*);
  void* private_data;
};
}

constexpr int64_t kNullable = 2;  // ARROW_FLAG_NULLABLE

// One column: 8-byte numbers, or text with offsets. Shared by all arrays made from it.
struct Column {
  std::string name;
  char format[2] = {};  // 'l' int64, 'g' float64, 'u' UTF-8
  int64_t null_count = 0;
  std::vector<uint8_t> valid;  // one bit per row
  std::vector<int64_t> integers;
  std::vector<double> numbers;
  std::vector<int32_t> offsets;
  std::string text;
};
struct Table {
  int64_t row_count = 0;
  std::vector<Column> columns;
};
using SharedTable = std::shared_ptr<const Table>;

// What one schema or array owns. A consumer may move children out and release them later.
template <class Struct>
struct Node {
  SharedTable table;
  std::vector<Struct> children;
  std::vector<Struct*> child_pointers;
  std::vector<const void*> buffers;
};

template <class Struct>
void Release(Struct* released) {
  auto* node = static_cast<Node<Struct>*>(released->private_data);
  for (Struct* child : node->child_pointers) {
    if (child->release != nullptr) child->release(child);
  }
  delete node;
  released->release = nullptr;
}

template <class Struct>
void Link(Struct* parent, Node<Struct>* node) {
  for (Struct& child : node->children) node->child_pointers.push_back(&child);
  parent->n_children = static_cast<int64_t>(node->children.size());
  parent->children = node->child_pointers.data();
  parent->private_data = node;
  parent->release = Release<Struct>;
}

void FillSchema(const SharedTable& table, ArrowSchema* out) {
  auto* root = new Node<ArrowSchema>{.table = table};
  root->children.resize(table->columns.size());
  for (size_t i = 0; i < table->columns.size(); ++i) {
    const Column& column = table->columns[i];
    root->children[i] = {.format = column.format, .name = column.name.c_str(), .flags = kNullable};
    Link(&root->children[i], new Node<ArrowSchema>{.table = table});
  }
  *out = {.format = "+s", .name = ""};
  Link(out, root);
}

std::vector<const void*> BuffersOf(const Column& column) {
  const void* valid = column.null_count == 0 ? nullptr : column.valid.data();
  switch (column.format[0]) {
    case 'l':
      return {valid, column.integers.data()};
    case 'g':
      return {valid, column.numbers.data()};
    default:
      return {valid, column.offsets.data(), column.text.data()};
  }
}

void FillArray(const SharedTable& table, ArrowArray* out) {
  auto* root = new Node<ArrowArray>{.table = table, .buffers = {nullptr}};
  root->children.resize(table->columns.size());
  for (size_t i = 0; i < table->columns.size(); ++i) {
    const Column& column = table->columns[i];
    auto* node = new Node<ArrowArray>{.table = table, .buffers = BuffersOf(column)};
    root->children[i] = {.length = table->row_count,
                         .null_count = column.null_count,
                         .n_buffers = static_cast<int64_t>(node->buffers.size()),
                         .buffers = node->buffers.data()};
    Link(&root->children[i], node);
  }
  *out = {.length = table->row_count, .n_buffers = 1, .buffers = root->buffers.data()};
  Link(out, root);
}

// The whole table is one batch.
struct Stream {
  SharedTable table;
  bool sent = false;
};

ArrowArrayStream* NewStream(SharedTable table) {
  return new ArrowArrayStream{
      .get_schema =
          [](ArrowArrayStream* self, ArrowSchema* out) {
            FillSchema(static_cast<Stream*>(self->private_data)->table, out);
            return 0;
          },
      .get_next =
          [](ArrowArrayStream* self, ArrowArray* out) {
            auto* stream = static_cast<Stream*>(self->private_data);
            *out = {};
            if (!std::exchange(stream->sent, true)) FillArray(stream->table, out);
            return 0;
          },
      .get_last_error = [](ArrowArrayStream*) -> const char* { return nullptr; },
      .release =
          [](ArrowArrayStream* self) {
            delete static_cast<Stream*>(self->private_data);
            self->release = nullptr;
          },
      .private_data = new Stream{std::move(table)}};
}

void Append(Column& column, size_t row, py::handle value) {
  const bool valid = !value.is_none();
  if (valid) column.valid[row / 8] |= static_cast<uint8_t>(1u << (row % 8));
  column.null_count += valid ? 0 : 1;
  if (column.format[0] == 'l') {
    column.integers.push_back(valid ? value.cast<int64_t>() : 0);
  } else if (column.format[0] == 'g') {
    column.numbers.push_back(valid ? value.cast<double>() : 0);
  } else {
    if (valid) column.text.append(Utf8(value, column.name.c_str()));
    if (column.text.size() > INT32_MAX) throw py::value_error("table: more than 2 GiB of text");
    column.offsets.push_back(static_cast<int32_t>(column.text.size()));
  }
}

// `kind` is "int", "float" or "str"; None in `values` is null.
Column ColumnOf(const std::string& name, const std::string& kind, const py::list& values) {
  Column column{.name = name};
  column.format[0] = kind == "int" ? 'l' : kind == "float" ? 'g' : 'u';
  column.valid.resize((values.size() + 7) / 8);
  column.offsets.push_back(0);
  for (size_t row = 0; row < values.size(); ++row) Append(column, row, values[row]);
  return column;
}

constexpr char kCapsuleName[] = "arrow_array_stream";

py::object ToStream(const py::list& columns) {
  auto table = std::make_shared<Table>();
  for (const py::handle one : columns) {
    const py::tuple fields = py::reinterpret_borrow<py::tuple>(one);
    const py::list values = fields[2];
    if (!table->columns.empty() && table->row_count != static_cast<int64_t>(values.size())) {
      throw py::value_error("table: columns of different lengths");
    }
    table->row_count = static_cast<int64_t>(values.size());
    table->columns.push_back(
        ColumnOf(fields[0].cast<std::string>(), fields[1].cast<std::string>(), values));
  }
  ArrowArrayStream* stream = NewStream(std::move(table));
  PyObject* capsule = PyCapsule_New(stream, kCapsuleName, [](PyObject* one) {
    auto* owned = static_cast<ArrowArrayStream*>(PyCapsule_GetPointer(one, kCapsuleName));
    if (owned->release != nullptr) owned->release(owned);
    delete owned;
  });
  if (capsule == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(capsule);
}

}  // namespace

void AddArrow(py::module_& module) {
  module.def("arrow_stream", &ToStream, py::arg("columns"),
             "A capsule with an Arrow stream of (name, 'int' | 'float' | 'str', values) columns.");
}

}  // namespace weir::python
