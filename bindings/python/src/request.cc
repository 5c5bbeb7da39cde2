#include "request.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

namespace weir::python {
namespace {

constexpr char kTokensExpected[] =
    "a one-dimensional contiguous buffer of 4- or 8-byte integers, or a list of int";

int64_t IntegerOf(PyObject* value, const char* what, int64_t lowest, int64_t highest) {
  if (!PyLong_Check(value)) RaiseType(what, value, "int");
  int overflow = 0;
  const int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow);
  if (overflow != 0 || number < lowest || number > highest) {
    throw py::value_error(std::string(what) + ": " + std::string(py::str(py::handle(value))) +
                          ", expected " + std::to_string(lowest) + ".." + std::to_string(highest));
  }
  return number;
}

bool BooleanOf(PyObject* value, const char* what) {
  if (!PyBool_Check(value)) RaiseType(what, value, "bool");
  return value == Py_True;
}

[[noreturn]] void RaiseToken(size_t index, const std::string& value) {
  throw py::value_error("tokens[" + std::to_string(index) + "]: " + value +
                        ", expected 0..4294967295");
}

// The letter of a native integer format, 0 for anything else.
char IntegerFormat(const Py_buffer& buffer) {
  const char* format = buffer.format == nullptr ? "B" : buffer.format;
  if (*format == '@' || *format == '=' || *format == '<') ++format;
  const bool known = std::strchr("iIlLqQ", *format) != nullptr && *format != 0 && format[1] == 0;
  return known && (buffer.itemsize == 4 || buffer.itemsize == 8) ? *format : 0;
}

// Copies 8-byte tokens; returns the index of the first that does not fit, or the count.
size_t Narrow(const uint64_t* from, size_t count, uint32_t* to) {
  uint64_t all = 0;
  for (size_t i = 0; i < count; ++i) {
    all |= from[i];
    to[i] = static_cast<uint32_t>(from[i]);
  }
  if ((all >> 32) == 0) return count;
  return static_cast<size_t>(
      std::find_if(from, from + count, [](uint64_t token) { return (token >> 32) != 0; }) - from);
}

}  // namespace

struct RequestFields::Field {
  const char* name;
  void (*read)(RequestFields& self, PyObject* value);
};

// None counts as absent for each.
const RequestFields::Field RequestFields::kFields[] = {
    {"model", [](auto& self, PyObject* value) { self.given_.model = Utf8(value, "model"); }},
    {"tokens", [](auto& self, PyObject* value) { self.ReadTokens(value); }},
    {"prompt", [](auto& self, PyObject* value) { self.ReadPrompt(value); }},
    {"messages", [](auto& self, PyObject* value) { self.ReadMessages(value); }},
    {"body", [](auto& self, PyObject* value) { self.ReadBody(value); }},
    {"path", [](auto& self, PyObject* value) { self.input_.path = Utf8(value, "path"); }},
    {"headers", [](auto& self, PyObject* value) { self.ReadHeaders(value); }},
    {"request_id",
     [](auto& self, PyObject* value) { self.given_.request_id = Utf8(value, "request_id"); }},
    {"priority",
     [](auto& self, PyObject* value) {
       self.given_.priority =
           static_cast<int32_t>(IntegerOf(value, "priority", INT32_MIN, INT32_MAX));
     }},
    {"subset", [](auto& self, PyObject* value) { self.ReadSubset(value); }},
    {"adapter", [](auto& self, PyObject* value) { self.given_.adapter = Utf8(value, "adapter"); }},
    {"cache_salt",
     [](auto& self, PyObject* value) { self.given_.cache_salt = Utf8(value, "cache_salt"); }},
    {"fairness_id",
     [](auto& self, PyObject* value) { self.given_.fairness_id = Utf8(value, "fairness_id"); }},
    {"max_output_tokens",
     [](auto& self, PyObject* value) {
       self.given_.max_output_tokens = IntegerOf(value, "max_output_tokens", 0, INT64_MAX);
     }},
    {"stream",
     [](auto& self, PyObject* value) { self.given_.stream = BooleanOf(value, "stream"); }},
    {"if_available",
     [](auto& self, PyObject* value) {
       self.given_.if_available = BooleanOf(value, "if_available");
     }},
};

const RequestFields::Field& RequestFields::Find(PyObject* name) {
  static std::vector<PyObject*>& interned = *[] {
    auto* names = new std::vector<PyObject*>;
    for (const Field& field : kFields) names->push_back(PyUnicode_InternFromString(field.name));
    return names;
  }();
  for (size_t i = 0; i < interned.size(); ++i) {
    if (interned[i] == name) return kFields[i];
  }
  const std::string_view text = Utf8(name, "name of an argument");
  for (const Field& field : kFields) {
    if (text == field.name) return field;
  }
  throw py::type_error("decide() got an unexpected keyword argument '" + std::string(text) + "'");
}

py::tuple RequestFields::Names() {
  py::list names;
  for (const Field& field : kFields) names.append(field.name);
  return py::tuple(names);
}

RequestFields::~RequestFields() {
  if (buffer_.obj != nullptr) PyBuffer_Release(&buffer_);
}

void RequestFields::Read(PyObject* fields) {
  PyObject* name = nullptr;
  PyObject* value = nullptr;
  Py_ssize_t position = 0;
  while (PyDict_Next(fields, &position, &name, &value) != 0) {
    const Field& field = Find(name);
    if (value == Py_None) continue;
    Keep(value);
    field.read(*this, value);
  }
  if (given_.adapter) given_.model = given_.adapter;
  if (messages_ != nullptr) WriteMessages();
  request_.headers = headers_;
  input_.headers = headers_;
  input_.subset = request_.subset;
  if (has_body_) {
    if (input_.path.empty()) input_.path = "/v1/chat/completions";
  } else if (prompt_argument_ != nullptr) {
    request_.api = Api::kCompletions;
    request_.prompts = {&prompt_, 1};
  }
}

void RequestFields::BePrompt(const char* argument) {
  if (prompt_argument_ != nullptr) {
    throw py::type_error(std::string(prompt_argument_) + " and " + argument +
                         " were both given, expected one of tokens, prompt, messages and body");
  }
  prompt_argument_ = argument;
}

void RequestFields::ReadTokens(PyObject* value) {
  BePrompt("tokens");
  if (PyObject_CheckBuffer(value) != 0) {
    ReadTokenBuffer(value);
  } else if (PyList_Check(value) || PyTuple_Check(value)) {
    ReadTokenSequence(value);
  } else if (PyObject_HasAttrString(value, "__dlpack__") != 0 &&
             PyObject_HasAttrString(value, "numpy") != 0) {
    // A tensor of torch, which refuses by itself if it is not in the machine's memory.
    kept_.push_back(py::handle(value).attr("numpy")());
    ReadTokenBuffer(kept_.back().ptr());
  } else {
    RaiseType("tokens", value, kTokensExpected);
  }
  request_.size_bytes = prompt_.tokens.size_bytes();
}

void RequestFields::ReadTokenBuffer(PyObject* value) {
  if (PyObject_GetBuffer(value, &buffer_, PyBUF_FULL_RO) != 0) throw py::error_already_set();
  const char format = IntegerFormat(buffer_);
  if (format == 0) {
    throw py::type_error(std::string("tokens: a buffer of format '") +
                         (buffer_.format == nullptr ? "B" : buffer_.format) + "', expected " +
                         kTokensExpected);
  }
  if (buffer_.ndim != 1 || PyBuffer_IsContiguous(&buffer_, 'C') == 0) {
    throw py::type_error("tokens: a buffer of " + std::to_string(buffer_.ndim) +
                         " dimensions or with gaps, expected " + kTokensExpected);
  }
  const auto count = static_cast<size_t>(buffer_.shape[0]);
  if (count > 0 &&
      reinterpret_cast<uintptr_t>(buffer_.buf) % static_cast<size_t>(buffer_.itemsize) != 0) {
    throw py::type_error(std::string("tokens: a buffer that is not aligned, expected ") +
                         kTokensExpected);
  }
  if (buffer_.itemsize == 4) {
    const auto* tokens = static_cast<const uint32_t*>(buffer_.buf);
    if (format == 'i' || format == 'l') {
      uint32_t all = 0;
      for (size_t i = 0; i < count; ++i) all |= tokens[i];
      if ((all >> 31) != 0) {
        size_t first = 0;
        while ((tokens[first] >> 31) == 0) ++first;
        RaiseToken(first, std::to_string(static_cast<int32_t>(tokens[first])));
      }
    }
    prompt_.tokens = {tokens, count};
    return;
  }
  tokens_.resize(count);
  const auto* wide = static_cast<const uint64_t*>(buffer_.buf);
  if (const size_t bad = Narrow(wide, count, tokens_.data()); bad != count) {
    const bool is_signed = format == 'l' || format == 'q';
    RaiseToken(bad, is_signed ? std::to_string(static_cast<int64_t>(wide[bad]))
                              : std::to_string(wide[bad]));
  }
  prompt_.tokens = tokens_;
}

void RequestFields::ReadTokenSequence(PyObject* value) {
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(value);
  tokens_.resize(static_cast<size_t>(count));
  for (Py_ssize_t i = 0; i < count; ++i) {
    // __index__ of an element may change the list.
    if (i >= PySequence_Fast_GET_SIZE(value)) throw py::value_error("tokens: changed while read");
    const auto item = py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(value, i));
    py::object number = item;
    if (!PyLong_CheckExact(item.ptr())) {
      number = py::reinterpret_steal<py::object>(PyNumber_Index(item.ptr()));
      if (!number) {
        PyErr_Clear();
        RaiseType("tokens[" + std::to_string(i) + "]", item, "int");
      }
    }
    int overflow = 0;
    const int64_t token = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
    if (overflow != 0 || token < 0 || token > UINT32_MAX) {
      RaiseToken(static_cast<size_t>(i), py::str(number));
    }
    tokens_[static_cast<size_t>(i)] = static_cast<uint32_t>(token);
  }
  prompt_.tokens = tokens_;
}

void RequestFields::ReadPrompt(PyObject* value) {
  BePrompt("prompt");
  part_.bytes = Utf8(value, "prompt");
  prompt_.parts = {&part_, 1};
  request_.size_bytes = part_.bytes.size();
}

void RequestFields::ReadMessages(PyObject* value) {
  BePrompt("messages");
  if (!PyList_Check(value) && !PyTuple_Check(value)) RaiseType("messages", value, "a list of dict");
  messages_ = value;
}

// Messages become a body. What stands in it is not given beside it, so that rewrites count.
void RequestFields::WriteMessages() {
  py::dict body;
  const std::string_view model = std::exchange(given_.model, std::nullopt).value_or("");
  if (!model.empty()) body["model"] = Text(model);
  body["messages"] = py::handle(messages_);
  if (std::exchange(given_.stream, std::nullopt).value_or(false)) body["stream"] = true;
  py::object text =
      py::module_::import("json").attr("dumps")(body, py::arg("ensure_ascii") = false);
  kept_.push_back(text);
  input_.body = Utf8(text, "messages");
  input_.model_optional = true;
  has_body_ = true;
}

void RequestFields::ReadBody(PyObject* value) {
  BePrompt("body");
  if (PyObject_CheckBuffer(value) == 0) RaiseType("body", value, "bytes");
  if (PyObject_GetBuffer(value, &buffer_, PyBUF_FULL_RO) != 0) throw py::error_already_set();
  if (buffer_.itemsize != 1 || PyBuffer_IsContiguous(&buffer_, 'C') == 0) {
    throw py::type_error("body: a buffer with gaps or of items, expected contiguous bytes");
  }
  input_.body = {static_cast<const char*>(buffer_.buf), static_cast<size_t>(buffer_.len)};
  has_body_ = true;
}

void RequestFields::AddHeader(PyObject* name, PyObject* value) {
  Keep(name);
  Keep(value);
  std::string_view key = Utf8(name, "name of a header");
  if (std::any_of(key.begin(), key.end(), [](char c) { return c >= 'A' && c <= 'Z'; })) {
    std::string& lower = lowered_.emplace_back(key);
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    key = lower;
  }
  headers_.push_back({key, Utf8(value, "value of a header")});
}

void RequestFields::ReadHeaders(PyObject* value) {
  if (!PyDict_Check(value)) RaiseType("headers", value, "a dict of str");
  const auto count = static_cast<size_t>(PyDict_GET_SIZE(value));
  if (count > kHeadersMax) {
    throw py::value_error("headers: " + std::to_string(count) + ", expected at most " +
                          std::to_string(kHeadersMax));
  }
  lowered_.reserve(count);  // the headers are views of these
  headers_.reserve(count);
  PyObject* name = nullptr;
  PyObject* one = nullptr;
  Py_ssize_t position = 0;
  while (PyDict_Next(value, &position, &name, &one) != 0) AddHeader(name, one);
}

void RequestFields::ReadSubset(PyObject* value) {
  if (!PyList_Check(value) && !PyTuple_Check(value)) {
    RaiseType("subset", value, "a list of addresses");
  }
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(value); ++i) {
    PyObject* address = PySequence_Fast_GET_ITEM(value, i);
    Keep(address);
    subset_.push_back(Utf8(address, "subset"));
  }
  request_.subset = subset_;
}

void RequestFields::Given::ApplyTo(weir::Request* request) const {
  if (request_id) request->id = *request_id;
  if (model) request->model = *model;
  if (cache_salt) request->cache_salt = *cache_salt;
  if (fairness_id) request->fairness_id = *fairness_id;
  if (priority) request->priority = *priority;
  if (max_output_tokens) request->max_output_tokens = *max_output_tokens;
  if (stream) request->stream = *stream;
  if (if_available) request->if_available = *if_available;
}

absl::StatusOr<weir::Decision> RequestFields::Decide(const weir::Router& router,
                                                     BorrowedIntake& intake,
                                                     std::optional<std::string>* forwarded) {
  if (has_body_) {
    IntakeResult result;
    if (absl::Status status = intake.get().Read(input_, &request_, &result); !status.ok()) {
      return status;
    }
    if (result.body_changed) {
      forwarded->emplace();
      for (const std::string_view piece : result.body) (*forwarded)->append(piece);
    }
  }
  given_.ApplyTo(&request_);
  absl::StatusOr<weir::Decision> decision = router.Decide(request_);
  if (decision.ok()) decision->ReleaseRequest();
  return decision;
}

}  // namespace weir::python
