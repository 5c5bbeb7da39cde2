// weir embedded: one pool, one request, one decision.
#include <weir/weir.h>
#include <iostream>
#include <string_view>

// Where the program would send the request.
void Send(std::string_view address, std::string_view body) {
  std::cout << "POST " << address << "/v1/chat/completions (" << body.size() << " bytes)\n";
}

int main() {
  weir::Router router = weir::Router::Default().value();  // or FromFile("pipeline.yaml")
  router.pool().Upsert({.name = "a", .address = "10.0.0.1:8000"}).value();
  router.pool().Upsert({.name = "b", .address = "10.0.0.2:8000"}).value();

  constexpr std::string_view kBody =
      R"({"model": "m", "messages": [{"role": "user", "content": "Hello"}]})";
  const weir::Request request = weir::ParseOpenAi("/v1/chat/completions", kBody).value();
  const weir::Decision decision = router.Decide(request).value();
  weir::Flight flight = router.Begin(decision);  // in flight until destroyed, on every path
  Send(decision.primary().address, kBody);
  flight.FirstToken();
  flight.Finish({.prompt_tokens = 812, .cached_tokens = 640, .output_tokens = 97});
  std::cout << decision.Explain();
}
