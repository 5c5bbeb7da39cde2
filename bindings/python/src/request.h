// request.h: the keyword arguments of decide() as a weir::Request, without copying prompts.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "native.h"

namespace weir::python {

// Python objects that a request's views point into. Filled with the GIL held; nothing of it may be
// touched by other threads until the request is decided. [control, serial]
class RequestFields {
 public:
  RequestFields() = default;
  ~RequestFields();
  RequestFields(const RequestFields&) = delete;
  RequestFields& operator=(const RequestFields&) = delete;

  // Reads a dict of decide()'s arguments. Raises TypeError (unknown name, wrong type, more than one
  // prompt) and ValueError (a token outside 0..2^32-1), each naming the argument.
  void Read(PyObject* fields);

  // Decides and lets go of everything the request borrowed. `intake` is asked only where there is a
  // body. Needs no GIL; `forwarded` gets the body if it must be changed. [hot]
  absl::StatusOr<weir::Decision> Decide(const weir::Router& router, BorrowedIntake& intake,
                                        std::optional<std::string>* forwarded);
  // Names of all arguments.
  static py::tuple Names();

 private:
  struct Field;
  static const Field kFields[];
  static const Field& Find(PyObject* name);

  void ReadTokens(PyObject* value);
  void ReadTokenBuffer(PyObject* value);
  void ReadTokenSequence(PyObject* value);
  void ReadPrompt(PyObject* value);
  void ReadMessages(PyObject* value);
  void WriteMessages();
  void ReadBody(PyObject* value);
  void ReadHeaders(PyObject* value);
  void AddHeader(PyObject* name, PyObject* value);
  void ReadSubset(PyObject* value);
  void BePrompt(const char* argument);
  // Others may drop it from its dict or list while the request is decided.
  void Keep(PyObject* value) { kept_.push_back(py::reinterpret_borrow<py::object>(value)); }

  // Arguments that go before what a body or its headers say.
  struct Given {
    std::optional<std::string_view> request_id, model, adapter, cache_salt, fairness_id;
    std::optional<int32_t> priority;
    std::optional<int64_t> max_output_tokens;
    std::optional<bool> stream, if_available;

    void ApplyTo(weir::Request* request) const;
  };

  weir::Request request_;
  Given given_;
  IntakeInput input_;
  bool has_body_ = false;
  const char* prompt_argument_ = nullptr;  // the one that was given
  PyObject* messages_ = nullptr;           // borrowed
  Prompt prompt_;
  PromptPart part_;
  std::vector<uint32_t> tokens_;  // where they had to be narrowed
  std::vector<Header> headers_;
  std::vector<std::string> lowered_;  // names of headers
  std::vector<std::string_view> subset_;
  std::vector<py::object> kept_;
  Py_buffer buffer_ = {};
};

}  // namespace weir::python
