"""The official OpenAI client for Python against weir-gateway and two simulated servers."""

import fleet

fleet.use_packages()

import openai  # noqa: E402, from the virtual environment

from fleet import MODEL, until  # noqa: E402

WHOLE = {"ignore_eos": True}  # as many tokens as asked for
LONG = " ".join(f"word{i}" for i in range(600))  # several blocks of the servers' caches


class OpenAiClientTest(fleet.FleetTest):
    @classmethod
    def start(cls, programs):
        cls.servers = programs.sim(2)
        cls.gateway = programs.gateway(cls.servers, admin=True)
        cls.gateway.wait_scraped(2)
        cls.client = cls.connect(cls.gateway)

    @staticmethod
    def connect(gateway):
        return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0,
                             timeout=60)

    def messages(self, text):
        return [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": text}]

    def test_models(self):
        self.assertEqual([m.id for m in self.client.models.list()], [MODEL])

    def test_chat(self):
        with self.moved("weir_gateway_requests_total", outcome="complete"):
            answer = self.client.chat.completions.create(
                model=MODEL, messages=self.messages("What is a cache?"), max_tokens=8,
                extra_body=WHOLE)
        self.assertEqual(answer.choices[0].message.role, "assistant")
        self.assertTrue(answer.choices[0].message.content)
        self.assertEqual(answer.usage.completion_tokens, 8)
        self.assertGreater(answer.usage.prompt_tokens, 4)

    def test_chat_stream_says_what_a_whole_answer_says(self):
        request = {"model": MODEL, "messages": self.messages("Tell a story."), "max_tokens": 12,
                   "extra_body": WHOLE}
        whole = self.client.chat.completions.create(**request)
        text, finish, usage, pieces = "", None, None, 0
        for event in self.client.chat.completions.create(
                **request, stream=True, stream_options={"include_usage": True}):
            usage = event.usage or usage
            for choice in event.choices:
                pieces += bool(choice.delta.content)
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(finish, "length")
        self.assertGreater(pieces, 3)
        self.assertEqual(usage.completion_tokens, 12)
        self.assertEqual(usage.prompt_tokens, whole.usage.prompt_tokens)

    def test_completions(self):
        whole = self.client.completions.create(model=MODEL, prompt="Once upon a time",
                                               max_tokens=6)
        self.assertTrue(whole.choices[0].text)
        streamed = "".join(e.choices[0].text for e in self.client.completions.create(
            model=MODEL, prompt="Once upon a time", max_tokens=6, stream=True) if e.choices)
        self.assertEqual(streamed, whole.choices[0].text)

    def test_embeddings(self):
        answer = self.client.embeddings.create(model=MODEL, input=["one text", "another text"])
        self.assertEqual(len(answer.data), 2)
        self.assertEqual(len(answer.data[0].embedding), 384)
        self.assertAlmostEqual(sum(x * x for x in answer.data[1].embedding), 1.0, places=3)

    def test_responses(self):
        answer = self.client.responses.create(model=MODEL, input="What is a cache?",
                                              max_output_tokens=8)
        self.assertTrue(answer.output_text)
        kinds, text = [], ""
        for event in self.client.responses.create(model=MODEL, input="What is a cache?",
                                                  max_output_tokens=8, stream=True):
            kinds.append(event.type)
            text += event.delta if event.type == "response.output_text.delta" else ""
        self.assertEqual(text, answer.output_text)
        self.assertEqual(kinds[0], "response.created")
        self.assertEqual(kinds[-1], "response.completed")

    def test_the_second_turn_finds_the_cache(self):
        messages = self.messages(LONG)
        first = self.client.chat.completions.create(model=MODEL, messages=messages, max_tokens=8)
        messages += [{"role": "assistant", "content": first.choices[0].message.content},
                     {"role": "user", "content": "And then?"}]
        cached_before = self.gateway.metric("weir_gateway_tokens_total", kind="cached")
        raw = self.client.chat.completions.with_raw_response.create(
            model=MODEL, messages=messages, max_tokens=8)
        second = raw.parse()
        cached = second.usage.prompt_tokens_details.cached_tokens
        self.assertGreater(cached, 500)
        self.assertLess(cached, second.usage.prompt_tokens)
        self.assertIn(raw.headers["x-weir-endpoint"], [s.name for s in self.servers])
        until(lambda: self.gateway.metric("weir_gateway_tokens_total", kind="cached")
              >= cached_before + cached, "the gateway to count the cached tokens")

    def test_a_bad_body_is_a_bad_request(self):
        with self.moved("weir_gateway_requests_refused_total", reason="bad_body"):
            with self.assertRaises(openai.BadRequestError) as caught:
                self.client.chat.completions.create(model=MODEL, messages="no list")
        self.assertIn("messages", caught.exception.body["message"])

    def test_an_unknown_model_passes_through(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            self.client.chat.completions.create(model="other", messages=self.messages("Hi"))
        self.assertIn("`other`", caught.exception.body["message"])  # the server's own words

    def test_no_endpoint_is_unavailable(self):
        with fleet.Fleet() as programs:
            empty = programs.gateway([], "--config", programs.file("pipeline.yaml", EMPTY_POOL))
            self.assertEqual(empty.fetch("GET", "/readyz").status, 503)
            with self.assertRaises(openai.InternalServerError) as caught:
                self.connect(empty).chat.completions.create(model=MODEL,
                                                            messages=self.messages("Hi"))
            self.assertEqual(caught.exception.status_code, 503)
            self.assertEqual(caught.exception.code, "no_endpoints")
            until(lambda: empty.metric("weir_gateway_requests_refused_total",
                                       reason="no_endpoint") == 1, "the refusal to be counted")

    def test_a_client_that_leaves_ends_the_request_upstream(self):
        with self.moved("weir_gateway_requests_total", outcome="client_gone"):
            stream = self.client.chat.completions.create(
                model=MODEL, messages=self.messages("Go on for long."), max_tokens=20000,
                stream=True, extra_body=WHOLE)
            next(iter(stream))
            self.assertEqual(sum(s.running_requests() for s in self.servers), 1)
            stream.close()
        until(lambda: sum(s.running_requests() for s in self.servers) == 0,
              "the server to stop the request")
        until(lambda: self.gateway.metric("weir_gateway_requests_in_flight") == 0,
              "the gateway to forget the request")


EMPTY_POOL = """apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: max-score-picker
"""

if __name__ == "__main__":
    fleet.main()
