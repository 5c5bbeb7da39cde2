"""A stand-in for ray.serve.config, for tests without Ray."""

import json


class RequestRouterConfig:
    def __init__(self, **fields):
        json.dumps(fields["request_router_kwargs"])
        self.__dict__.update(fields)
