/* weir embedded in C: a pool, an OpenAI request, a prompt of token ids, and what became of them.
 * Usage: embed_c [pipeline.yaml] */
#include <stdio.h>
#include <stdlib.h>
#include <weir/c/weir.h>

static char error_text[512];
static weir_buffer error = {error_text, sizeof(error_text), 0};

/* Ends the program unless the call went well. */
static void check(weir_code code, const char* what) {
  if (code == WEIR_OK) return;
  fprintf(stderr, "%s: %s: %s\n", what, weir_code_name(code).data, error_text);
  exit(1);
}

static void add_endpoint(weir_router* router, const char* name, const char* address,
                         uint32_t waiting_requests) {
  weir_metrics metrics = weir_metrics_init();
  metrics.present = WEIR_METRIC_WAITING_REQUESTS;
  metrics.waiting_requests = waiting_requests;
  weir_endpoint endpoint = weir_endpoint_init();
  endpoint.name = weir_text(name);
  endpoint.address = weir_text(address);
  endpoint.metrics = &metrics;
  check(weir_pool_upsert(router, &endpoint, NULL, &error), name);
}

/* Where the program would send the request. */
static void send_to_primary(const weir_decision* decision, weir_str body) {
  weir_target target;
  weir_header headers[4];
  uint64_t target_count, header_count;
  check(weir_decision_targets(decision, &target, 1, &target_count), "targets");
  check(weir_decision_headers(decision, headers, 4, &header_count), "headers");
  printf("POST %.*s (%d bytes)\n", (int)target.address.size, target.address.data, (int)body.size);
  for (uint64_t i = 0; i < header_count && i < 4; ++i) {
    printf("%.*s: %.*s\n", (int)headers[i].name.size, headers[i].name.data,
           (int)headers[i].value.size, headers[i].value.data);
  }
}

/* One request on its way, from decision to the end of the answer. */
static void serve(const weir_decision* decision, weir_str body, int64_t output_tokens) {
  weir_flight flight = {{NULL, NULL}};
  check(weir_begin(decision, 0, &flight, &error), "begin");
  send_to_primary(decision, body);
  check(weir_flight_first_token(&flight), "first token");
  weir_usage usage = weir_usage_init();
  usage.output_tokens = output_tokens;
  check(weir_flight_finish(&flight, &usage), "finish");
}

int main(int argc, char** argv) {
  weir_router_options options = weir_router_options_init();
  if (argc > 1) options.config_path = weir_text(argv[1]);
  weir_router* router = NULL;
  check(weir_router_create(&options, &router, &error), "create");
  add_endpoint(router, "a", "10.0.0.1:8000", 3);
  add_endpoint(router, "b", "10.0.0.2:8000", 0);
  weir_decision decision = {{NULL, NULL}};

  /* As it came over HTTP: one intake for each thread. */
  weir_intake* intake = NULL;
  check(weir_intake_create(router, 0, &intake, &error), "intake");
  weir_http_request request = weir_http_request_init();
  request.path = weir_text("/v1/chat/completions");
  request.body =
      weir_text("{\"model\": \"m\", \"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}");
  check(weir_intake_decide(intake, &request, &decision, NULL, &error), "decide");
  serve(&decision, request.body, 97);

  /* As token ids. */
  const uint32_t tokens[] = {9906, 11, 1917, 0};
  const weir_prompt prompt = weir_prompt_of_tokens(tokens, 4);
  weir_query query = weir_query_init();
  query.id = weir_text("request-2");
  query.model = weir_text("m");
  query.prompts = &prompt;
  query.prompt_count = 1;
  check(weir_decide(router, &query, &decision, &error), "decide");
  serve(&decision, weir_text(""), 12);

  static char text[8192];
  weir_buffer explanation = {text, sizeof(text), 0};
  check(weir_decision_text(&decision, &explanation), "explain");
  fputs(text, stdout);
  weir_stats stats = weir_stats_init();
  check(weir_router_stats(router, &stats), "stats");
  printf("weir %s: %d decisions, %d in flight\n", weir_version(), (int)stats.decisions,
         (int)(stats.flights_begun - stats.flights_ended));

  weir_decision_release(&decision);
  weir_intake_destroy(&intake);
  weir_router_destroy(&router);
  return 0;
}
