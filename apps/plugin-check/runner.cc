#include "runner.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "nlohmann/json.hpp"

namespace weir::plugin_check {
namespace {

constexpr size_t kProgressBytes = 512;
constexpr size_t kDetailBytesMax = 64u << 10;

CheckResult RunHere(const std::function<std::string(const Progress&)>& body,
                    const Progress& progress) {
  try {
    return {Outcome::kOk, body(progress)};
  } catch (const CheckSkipped& skipped) {
    return {Outcome::kSkipped, skipped.what()};
  } catch (const std::exception& failure) {
    return {Outcome::kFailed, failure.what()};
  }
}

// Text that the child wrote last, readable after it died.
class ProgressPage {
 public:
  ProgressPage()
      : text_(static_cast<char*>(mmap(nullptr, kProgressBytes, PROT_READ | PROT_WRITE,
                                      MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
    if (text_ == MAP_FAILED) throw CheckFailure("mmap failed");
  }
  ~ProgressPage() { munmap(text_, kProgressBytes); }
  ProgressPage(const ProgressPage&) = delete;
  ProgressPage& operator=(const ProgressPage&) = delete;
  void Set(const std::string& what) {
    what.copy(text_, kProgressBytes - 1);
    Terminate(what.size());
  }
  std::string text() const { return {text_, strnlen(text_, kProgressBytes)}; }

 private:
  void Terminate(size_t size) { text_[std::min(size, kProgressBytes - 1)] = '\0'; }
  char* text_;
};

std::string ReadAll(int descriptor) {
  std::string bytes;
  char buffer[4096];
  while (bytes.size() < kDetailBytesMax) {
    const ssize_t got = read(descriptor, buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    bytes.append(buffer, static_cast<size_t>(got));
  }
  return bytes;
}

[[noreturn]] void RunChild(const std::function<std::string(const Progress&)>& body,
                           ProgressPage& page, int descriptor) {
  alarm(kCheckSecondsMax);
  const CheckResult result = RunHere(body, [&](const std::string& what) { page.Set(what); });
  const std::string answer =
      static_cast<char>('0' + static_cast<int>(result.outcome)) + result.detail;
  for (size_t sent = 0; sent < answer.size();) {
    const ssize_t wrote = write(descriptor, answer.data() + sent, answer.size() - sent);
    if (wrote <= 0) break;
    sent += static_cast<size_t>(wrote);
  }
  _exit(0);
}

}  // namespace

std::string OutcomeName(Outcome outcome) {
  switch (outcome) {
    case Outcome::kOk:
      return "ok";
    case Outcome::kFailed:
      return "FAILED";
    case Outcome::kSkipped:
      return "skipped";
    case Outcome::kCrashed:
      return "CRASHED";
    case Outcome::kTimedOut:
      return "TIMED OUT";
  }
  return "";
}

CheckResult RunCheck(const std::function<std::string(const Progress&)>& body, bool in_process) {
  if (in_process) return RunHere(body, [](const std::string&) {});
  ProgressPage page;
  int ends[2];
  if (pipe(ends) != 0) return {Outcome::kFailed, "pipe failed"};
  const pid_t child = fork();
  if (child < 0) return {Outcome::kFailed, "fork failed"};
  if (child == 0) {
    close(ends[0]);
    RunChild(body, page, ends[1]);
  }
  close(ends[1]);
  const std::string answer = ReadAll(ends[0]);
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  const std::string where = page.text().empty() ? "" : " in " + page.text();
  if (WIFSIGNALED(status)) {
    if (WTERMSIG(status) == SIGALRM) {
      return {Outcome::kTimedOut, std::to_string(kCheckSecondsMax) + " s" + where};
    }
    return {Outcome::kCrashed, strsignal(WTERMSIG(status)) + where};
  }
  if (answer.empty()) return {Outcome::kCrashed, "the process exited" + where};
  return {static_cast<Outcome>(answer[0] - '0'), answer.substr(1)};
}

}  // namespace weir::plugin_check
