#include "plugin_view.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace weir::python {
namespace {

// NumPy, if plugins use it; borrowed forever.
struct Numpy {
  py::handle frombuffer;
  py::handle int64;
  py::handle float64;
};
Numpy numpy;

py::object ArrayOf(const char* format, py::handle dtype, const void* data, size_t size) {
  const auto bytes = py::reinterpret_steal<py::object>(
      PyBytes_FromStringAndSize(static_cast<const char*>(data), static_cast<Py_ssize_t>(size)));
  if (!bytes) throw py::error_already_set();
  if (!numpy.frombuffer) return py::memoryview(bytes).attr("cast")(format);
  PyObject* arguments[] = {bytes.ptr(), dtype.ptr()};
  PyObject* array = PyObject_Vectorcall(numpy.frombuffer.ptr(), arguments, 2, nullptr);
  if (array == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(array);
}

// Converts each element of a column.
template <class To, class From, class Convert>
std::vector<To> Map(const From* from, size_t count, const Convert& convert) {
  std::vector<To> values(count);
  std::transform(from, from + count, values.begin(), convert);
  return values;
}

template <class From>
py::object Integers(const From* from, size_t count) {
  return IntegerArray(
      Map<int64_t>(from, count, [](From value) { return static_cast<int64_t>(value); }));
}

template <class T>
double ItemAs(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return static_cast<double>(value);
}

using Item = double (*)(const char* at);

// How to read one item of a buffer; null for a format that is no number.
Item ItemOf(const Py_buffer& buffer) {
  const char* format = buffer.format == nullptr ? "B" : buffer.format;
  if (*format == '@' || *format == '=' || *format == '<') ++format;
  if (*format == 0 || format[1] != 0) return nullptr;
  const auto integer = [&](Item one, Item two, Item four, Item eight) -> Item {
    switch (buffer.itemsize) {
      case 1:
        return one;
      case 2:
        return two;
      case 4:
        return four;
      default:
        return eight;
    }
  };
  switch (*format) {
    case 'd':
      return ItemAs<double>;
    case 'f':
      return ItemAs<float>;
    case '?':
      return ItemAs<uint8_t>;
    case 'b':
    case 'h':
    case 'i':
    case 'l':
    case 'q':
      return integer(ItemAs<int8_t>, ItemAs<int16_t>, ItemAs<int32_t>, ItemAs<int64_t>);
    case 'B':
    case 'H':
    case 'I':
    case 'L':
    case 'Q':
      return integer(ItemAs<uint8_t>, ItemAs<uint16_t>, ItemAs<uint32_t>, ItemAs<uint64_t>);
    default:
      return nullptr;
  }
}

[[noreturn]] void RaiseLength(Py_ssize_t length, size_t expected) {
  throw py::value_error("returned " + std::to_string(length) + " values for " +
                        std::to_string(expected) + " endpoints");
}

// A buffer while it is read.
class Buffer {
 public:
  explicit Buffer(py::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &buffer_, PyBUF_FULL_RO) != 0) {
      throw py::error_already_set();
    }
  }
  ~Buffer() { PyBuffer_Release(&buffer_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  const Py_buffer& get() const { return buffer_; }

 private:
  Py_buffer buffer_ = {};
};

void ReadBuffer(py::handle result, std::span<double> numbers) {
  const Buffer held(result);
  const Py_buffer& buffer = held.get();
  const Item item = ItemOf(buffer);
  if (item == nullptr) {
    throw py::type_error(std::string("returned a buffer of format '") +
                         (buffer.format == nullptr ? "B" : buffer.format) + "', expected numbers");
  }
  if (buffer.ndim != 1 || buffer.suboffsets != nullptr) {
    throw py::type_error("returned a buffer of " + std::to_string(buffer.ndim) +
                         " dimensions, expected 1");
  }
  if (buffer.shape[0] != static_cast<Py_ssize_t>(numbers.size())) {
    RaiseLength(buffer.shape[0], numbers.size());
  }
  const Py_ssize_t stride = buffer.strides == nullptr ? buffer.itemsize : buffer.strides[0];
  const char* at = static_cast<const char*>(buffer.buf);
  for (double& number : numbers) {
    number = item(at);
    at += stride;
  }
}

// A tuple or list of what was returned, so that nobody changes it meanwhile.
py::tuple Items(py::handle result) {
  if (PyUnicode_Check(result.ptr()) || PyBytes_Check(result.ptr())) {
    RaiseType("returned a", result, "an array or a sequence of numbers");
  }
  PyObject* items = PySequence_Tuple(result.ptr());
  if (items == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::tuple>(items);
}

}  // namespace

void UseNumpyIfThere() {
  static bool asked = false;
  if (std::exchange(asked, true)) return;
  try {
    const py::module_ module = py::module_::import("numpy");
    numpy = {py::object(module.attr("frombuffer")).release(),
             module.attr("dtype")("int64").release(), module.attr("dtype")("float64").release()};
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_ImportError)) throw;
  }
}

py::object IntegerArray(std::span<const int64_t> values) {
  return ArrayOf("q", numpy.int64, values.data(), values.size_bytes());
}
py::object NumberArray(std::span<const double> values) {
  return ArrayOf("d", numpy.float64, values.data(), values.size_bytes());
}

const weir_call& RequestSight::call() const {
  if (call_ == nullptr) Raise("ClosedError", "request: valid during the call only");
  return *call_;
}
const weir_request& RequestSight::request() const {
  if (request_ == nullptr) Raise("ClosedError", "request: valid during the call only");
  return *request_;
}

const weir_batch& EndpointsSight::batch() const {
  if (batch_ == nullptr) {
    Raise("ClosedError", "endpoints: valid during the call only; arrays taken before stay");
  }
  return *batch_;
}

template <class T>
plugin::Column<T> EndpointsSight::Declared(const char* name, const char* attribute) const {
  const auto found = std::find(reads_->begin(), reads_->end(), name);
  if (found == reads_->end()) {
    throw py::attribute_error(std::string("endpoints.") + attribute + ": the plugin does not say " +
                              "that it reads it, expected reads=[\"" + name + "\", ...]");
  }
  const auto index = static_cast<size_t>(found - reads_->begin());
  return {static_cast<const T*>(batch().columns[index]), count_};
}

py::object EndpointsSight::Cached(Which which) {
  if (!cache_[which]) cache_[which] = Make(which);
  return cache_[which];
}

py::object EndpointsSight::Make(Which which) const {
  const weir_batch& all = batch();
  switch (which) {
    case kWaiting:
      return Integers(all.waiting_requests, count_);
    case kRunning:
      return Integers(all.running_requests, count_);
    case kSlots:
      return Integers(all.slots, count_);
    case kKvUsed:
      return NumberArray(Map<double>(all.kv_used_ratio, count_, [](float used) { return used; }));
    case kSampleAge:
      return NumberArray(Map<double>(all.sample_age_ms, count_, [](uint32_t age_ms) {
        return age_ms == WEIR_AGE_NEVER ? HUGE_VAL : age_ms / 1e3;
      }));
    case kInFlight:
    case kInFlightTokens: {
      const auto load = Declared<weir_in_flight_load>(
          "in_flight", which == kInFlight ? "in_flight" : "in_flight_tokens");
      const auto pick = [&](const weir_in_flight_load& one) {
        return which == kInFlight ? one.requests : one.tokens;
      };
      return IntegerArray(load ? Map<int64_t>(load.data(), count_, pick)
                               : std::vector<int64_t>(count_));
    }
    case kPrefixMatch: {
      const auto match = Declared<weir_prefix_match>("prefix_match", "prefix_match");
      const auto ratio = [](const weir_prefix_match& one) {
        return one.total_blocks == 0 ? 0.0 : double(one.matched_blocks) / one.total_blocks;
      };
      return NumberArray(match ? Map<double>(match.data(), count_, ratio)
                               : std::vector<double>(count_));
    }
    default: {
      const auto tokens = Declared<int64_t>("uncached_tokens", "uncached_tokens");
      return IntegerArray(tokens ? std::vector<int64_t>(tokens.begin(), tokens.end())
                                 : std::vector<int64_t>(count_));
    }
  }
}

py::list EndpointsSight::Names() const {
  const weir_batch& all = batch();
  py::list names;
  for (uint32_t i = 0; i < count_; ++i) {
    const std::string_view full = plugin::View(all.names[i]);
    names.append(Text(full.substr(full.find('/') + 1)));
  }
  return names;
}

py::list EndpointsSight::Addresses() const {
  const weir_batch& all = batch();
  py::list addresses;
  for (uint32_t i = 0; i < count_; ++i) addresses.append(Text(plugin::View(all.addresses[i])));
  return addresses;
}

py::object EndpointsSight::Labels(std::string_view key) const {
  const plugin::Batch view(call_, &batch());
  const auto labels = view.labels(key);
  if (!labels) throw std::bad_alloc();
  return Integers(labels.data(), count_);
}

uint32_t EndpointsSight::Intern(std::string_view value) const {
  return plugin::Batch(call_, &batch()).intern(value);
}

void ReadNumbers(py::handle result, std::span<double> numbers) {
  if (PyObject_CheckBuffer(result.ptr()) != 0 && !PyBytes_Check(result.ptr())) {
    ReadBuffer(result, numbers);
    return;
  }
  const py::tuple items = Items(result);
  if (items.size() != numbers.size()) {
    RaiseLength(static_cast<Py_ssize_t>(items.size()), numbers.size());
  }
  for (size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = PyFloat_AsDouble(PyTuple_GET_ITEM(items.ptr(), static_cast<Py_ssize_t>(i)));
    if (numbers[i] == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
  }
}

size_t ReadIndices(py::handle result, std::span<uint32_t> indices) {
  const bool single = PyIndex_Check(result.ptr()) != 0 && PySequence_Check(result.ptr()) == 0;
  const py::tuple items = single ? py::make_tuple(result) : Items(result);
  const size_t count = std::min(items.size(), indices.size());
  for (size_t i = 0; i < count; ++i) {
    const Py_ssize_t index = PyNumber_AsSsize_t(
        PyTuple_GET_ITEM(items.ptr(), static_cast<Py_ssize_t>(i)), PyExc_IndexError);
    if (index == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
    if (index < 0 || index > UINT32_MAX) {
      throw py::index_error("returned index " + std::to_string(index));
    }
    indices[i] = static_cast<uint32_t>(index);
  }
  return count;
}

namespace {

py::dict HeadersOf(const RequestSight& self) {
  const weir_request& request = self.request();
  py::dict headers;
  for (uint64_t i = 0; i < request.header_count; ++i) {
    headers[Text(plugin::View(request.headers[i].name))] =
        Text(plugin::View(request.headers[i].value));
  }
  return headers;
}

uint64_t TokenCountOf(const RequestSight& self) {
  const weir_request& request = self.request();
  uint64_t count = 0;
  for (uint64_t i = 0; i < request.prompt_count; ++i) count += request.prompts[i].token_count;
  return count;
}

py::object TokensOf(const RequestSight& self) {
  const weir_request& request = self.request();
  std::vector<int64_t> tokens;
  for (uint64_t i = 0; i < request.prompt_count; ++i) {
    const weir_prompt& prompt = request.prompts[i];
    if (prompt.tokens != nullptr) {
      tokens.insert(tokens.end(), prompt.tokens, prompt.tokens + prompt.token_count);
    }
  }
  return IntegerArray(tokens);
}

// All text parts of all prompts, one after another.
py::str TextOfPrompts(const RequestSight& self) {
  const weir_request& request = self.request();
  std::string text;
  for (uint64_t i = 0; i < request.prompt_count; ++i) {
    const weir_prompt& prompt = request.prompts[i];
    for (uint64_t p = 0; p < prompt.part_count; ++p) {
      if (prompt.parts[p].kind == WEIR_PART_TEXT) text += plugin::View(prompt.parts[p].bytes);
    }
  }
  return Text(text);
}

// A property of the request that is a text.
auto TextField(weir_str weir_request::*field) {
  return [field](const RequestSight& self) { return Text(plugin::View(self.request().*field)); };
}

void AddRequestSight(py::module_& module) {
  py::class_<RequestSight>(module, "PluginRequest", py::module_local(),
                           "The request that a plugin judges; valid during the call only.")
      .def_property_readonly("id", TextField(&weir_request::id), "The x-request-id.")
      .def_property_readonly("model", TextField(&weir_request::model),
                             "That the endpoint is asked for.")
      .def_property_readonly("cache_salt", TextField(&weir_request::cache_salt),
                             "Part of the names of prompt blocks.")
      .def_property_readonly("fairness_id", TextField(&weir_request::fairness_id),
                             "Whose request it is.")
      .def_property_readonly(
          "priority", [](const RequestSight& self) { return self.request().priority; },
          "Of its objective.")
      .def_property_readonly(
          "stream",
          [](const RequestSight& self) {
            return (self.request().flags & WEIR_REQUEST_STREAM) != 0;
          },
          "Whether the client asked for an event stream.")
      .def_property_readonly(
          "size_bytes", [](const RequestSight& self) { return self.request().size_bytes; },
          "Of the body, or of the prompt.")
      .def_property_readonly(
          "max_output_tokens",
          [](const RequestSight& self) -> py::object {
            const int64_t count = self.request().max_output_tokens;
            return count < 0 ? py::object(py::none()) : py::int_(count);
          },
          "The client's limit, None if it gave none.")
      .def_property_readonly("token_count", TokenCountOf, "Of all prompts, once they are tokens.")
      .def_property_readonly(
          "tokens", TokensOf,
          "Token ids of all prompts, an array of int64; empty if the prompt is text.")
      .def_property_readonly("text", TextOfPrompts, "All text of the prompts, one after another.")
      .def_property_readonly("headers", HeadersOf, "Names are lower case.")
      .def_property_readonly(
          "now_s", [](const RequestSight& self) { return double(self.call().now_ns) / 1e9; },
          "The router's time.")
      .def(
          "uniform",
          [](const RequestSight& self) { return self.call().host->uniform(&self.call()); },
          "The next random number in 0..1, from the decision's seed.");
}

}  // namespace

void AddPluginViews(py::module_& module) {
  AddRequestSight(module);
  py::class_<EndpointsSight>(module, "PluginEndpoints", py::module_local(),
                             "The candidates that a plugin judges, as arrays.")
      .def("__len__", &EndpointsSight::count)
      .def_property_readonly(
          "waiting_requests", &EndpointsSight::Waiting,
          "Queued in the engine, and what was sent there since its last metrics; int64.")
      .def_property_readonly("running_requests", &EndpointsSight::Running,
                             "In the engine's batch; int64.")
      .def_property_readonly("kv_used_ratio", &EndpointsSight::KvUsed,
                             "Share of the KV cache in use, 0..1; float64.")
      .def_property_readonly("sample_age_s", &EndpointsSight::SampleAge,
                             "Age of these numbers, inf if they were never read; float64.")
      .def_property_readonly("slots", &EndpointsSight::Slots,
                             "Small integers that stay while the endpoint lives; int64.")
      .def_property_readonly("in_flight", &EndpointsSight::InFlight,
                             "Requests begun here and not ended; int64. Needs "
                             "reads=[\"in_flight\"], which is the default.")
      .def_property_readonly("in_flight_tokens", &EndpointsSight::InFlightTokens,
                             "Their prompt tokens; int64. Needs reads=[\"in_flight\"].")
      .def_property_readonly("prefix_match", &EndpointsSight::PrefixMatch,
                             "Share of the prompt that the endpoint holds, 0..1; float64. Needs "
                             "reads=[\"prefix_match\"].")
      .def_property_readonly(
          "uncached_tokens", &EndpointsSight::UncachedTokens,
          "Tokens of the prompt that it does not hold; int64. Needs reads=[\"uncached_tokens\"].")
      .def_property_readonly("names", &EndpointsSight::Names, "As given to the pool.")
      .def_property_readonly("addresses", &EndpointsSight::Addresses, "As given to the pool.")
      .def("labels", &EndpointsSight::Labels, py::arg("key"),
           "Numbers of the values of a label, 0 where there is none; int64. intern() tells which "
           "value has which.")
      .def("intern", &EndpointsSight::Intern, py::arg("value"),
           "The number of a label value, 4294967295 if no endpoint has it.");
}

}  // namespace weir::python
