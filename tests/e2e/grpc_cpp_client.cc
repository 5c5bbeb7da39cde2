// gRPC C++ as a client of grpc_echo_server: raw messages, so that no generated code is needed.
// Usage: grpc_cpp_client ADDRESS [CERTIFICATE.pem: TLS]. Prints what went wrong and exits with 1,
// or "ok".
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

namespace {

constexpr const char* kStream = "/weir.test.Echo/Stream";
constexpr const char* kCheck = "/grpc.health.v1.Health/Check";
constexpr int kWaitSeconds = 60;
constexpr size_t kMebibyte = 1u << 20;

int failures = 0;

void Expect(bool condition, const std::string& what) {
  if (condition) return;
  ++failures;
  std::printf("failed: %s\n", what.c_str());
}

grpc::ByteBuffer ToBuffer(const std::string& text) {
  const grpc::Slice slice(text);
  return {&slice, 1};
}

std::string ToText(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) return "undumpable";
  std::string text;
  for (const grpc::Slice& slice : slices) {
    text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return text;
}

// One call, one step at a time.
class Call {
 public:
  Call(grpc::GenericStub& stub, const char* method, int wait_ms = kWaitSeconds * 1000) {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(wait_ms));
    stub_ = &stub;
    method_ = method;
  }
  ~Call() {
    queue_.Shutdown();
    void* tag;
    bool fine;
    while (queue_.Next(&tag, &fine)) {
    }
  }
  bool Start() {
    stream_ = stub_->PrepareCall(&context, method_, &queue_);
    stream_->StartCall(nullptr);
    return Wait();
  }
  bool Write(const std::string& message) {
    stream_->Write(ToBuffer(message), nullptr);
    return Wait();
  }
  bool Read(std::string& message) {
    grpc::ByteBuffer buffer;
    stream_->Read(&buffer, nullptr);
    if (!Wait()) return false;
    message = ToText(buffer);
    return true;
  }
  bool WritesDone() {
    stream_->WritesDone(nullptr);
    return Wait();
  }
  grpc::Status Finish() {
    grpc::Status status;
    stream_->Finish(&status, nullptr);
    Wait();
    return status;
  }

  grpc::ClientContext context;

 private:
  bool Wait() {
    void* tag;
    bool fine = false;
    return queue_.Next(&tag, &fine) && fine;
  }
  grpc::GenericStub* stub_;
  std::string method_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
};

void Echo(grpc::GenericStub& stub, grpc_compression_algorithm compression) {
  Call call(stub, kStream);
  call.context.set_compression_algorithm(compression);
  Expect(call.Start(), "start");
  for (const size_t size : {size_t{0}, size_t{1}, size_t{70'000}, 3 * kMebibyte}) {
    const std::string message(size, 'm');
    std::string answer;
    Expect(call.Write(message) && call.Read(answer) && answer == message,
           "echo of " + std::to_string(size) + " bytes");
  }
  std::string none;
  Expect(call.WritesDone() && !call.Read(none), "the end of the stream");
  const grpc::Status status = call.Finish();
  Expect(status.ok(), "status " + status.error_message());
}

void Interleaved(grpc::GenericStub& stub) {
  std::vector<std::unique_ptr<Call>> calls;
  for (int i = 0; i < 100; ++i) {
    calls.push_back(std::make_unique<Call>(stub, kStream));
    Expect(calls.back()->Start(), "start of many");
  }
  for (int round = 0; round < 10; ++round) {
    for (size_t i = 0; i < calls.size(); ++i) {
      const std::string message = std::to_string(round) + " " + std::to_string(i);
      std::string answer;
      Expect(calls[i]->Write(message) && calls[i]->Read(answer) && answer == message, message);
    }
  }
  for (const auto& call : calls) {
    Expect(call->WritesDone() && call->Finish().ok(), "end of many");
  }
}

void Failure(grpc::GenericStub& stub) {
  Call call(stub, kStream);
  call.context.AddMetadata("x-fail", "9 not now: 100%");
  Expect(call.Start() && call.Write("m"), "start of a failure");
  const grpc::Status status = call.Finish();
  Expect(status.error_code() == grpc::StatusCode::FAILED_PRECONDITION, "its code");
  Expect(status.error_message() == "not now: 100%", "its text " + status.error_message());
}

void Deadline(grpc::GenericStub& stub) {
  Call call(stub, kStream, 200);
  call.context.AddMetadata("x-silent", "1");
  Expect(call.Start() && call.Write("m"), "start of a silence");
  std::string none;
  call.Read(none);
  Expect(call.Finish().error_code() == grpc::StatusCode::DEADLINE_EXCEEDED, "the deadline");
}

void TooLarge(grpc::GenericStub& stub) {
  Call call(stub, kStream);
  Expect(call.Start(), "start of a large message");
  call.Write(std::string(4 * kMebibyte + 1, 'l'));
  Expect(call.Finish().error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED, "its refusal");
}

void Health(grpc::GenericStub& stub) {
  Call call(stub, kCheck);
  std::string answer;
  Expect(call.Start() && call.Write("") && call.WritesDone() && call.Read(answer), "health");
  Expect(answer == "\x08\x01" && call.Finish().ok(), "serving");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(8 * kMebibyte);
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (argc > 2) {
    std::ifstream file(argv[2]);
    grpc::SslCredentialsOptions tls;
    tls.pem_root_certs.assign(std::istreambuf_iterator<char>(file), {});
    credentials = grpc::SslCredentials(tls);
    arguments.SetSslTargetNameOverride("localhost");
  }
  grpc::GenericStub stub(grpc::CreateCustomChannel(argv[1], credentials, arguments));
  Echo(stub, GRPC_COMPRESS_NONE);
  Echo(stub, GRPC_COMPRESS_GZIP);
  Interleaved(stub);
  Failure(stub);
  Deadline(stub);
  TooLarge(stub);
  Health(stub);
  if (failures == 0) std::printf("ok\n");
  return failures == 0 ? 0 : 1;
}
