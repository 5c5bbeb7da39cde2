"""An ext_proc client on grpcio and protobuf: an implementation of gRPC and of the messages that
shares nothing with weir's. Messages are JSON, as in tests/golden/ext_proc."""

import queue
import sys

import fleet

sys.path.append(str(fleet.ROOT))  # where grpcio looks for the .proto file
import grpc

PROTO = "sdk/io/ext_proc/proto/external_processor.proto"
METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
HEALTH = "/grpc.health.v1.Health/Check"
WAIT_S = 30
OVERWRITE = 2  # append_action OVERWRITE_IF_EXISTS_OR_ADD
messages = grpc.protos(PROTO)


def encode(message):
    """A ProcessingRequest of its JSON form."""
    request = messages.ProcessingRequest()
    for name in ("request_headers", "response_headers", "request_trailers", "response_trailers"):
        if name in message:
            part = getattr(request, name)
            part.SetInParent()
            headers = part.headers if name.endswith("headers") else part.trailers
            for header in message[name].get("headers", []):
                headers.headers.add(**header_of(header))
            if name.endswith("headers"):
                part.end_of_stream = message[name].get("end_of_stream", False)
    for name in ("request_body", "response_body"):
        if name in message:
            part = getattr(request, name)
            part.body = body_of(message[name].get("body", ""))
            part.end_of_stream = message[name].get("end_of_stream", False)
    for name, fields in message.get("metadata", {}).items():
        request.metadata_context.filter_metadata[name].update(fields)
    for name, value in message.get("protocol_config", {}).items():
        setattr(request.protocol_config, name, value)
    request.observability_mode = message.get("observability_mode", False)
    return request


def header_of(header):
    if isinstance(header, list):
        return {"key": header[0], "raw_value": header[1].encode()}
    return {name: value.encode() if name == "raw_value" else value
            for name, value in header.items()}


def body_of(body):
    """Text, or [count, text] for that text so many times."""
    if isinstance(body, list):
        return body[1].encode() * body[0]
    return body.encode()


def decode(response):
    """The JSON form of a ProcessingResponse; what is unset is absent."""
    out = {}
    kind = response.WhichOneof("response")
    if kind == "immediate_response":
        immediate = response.immediate_response
        out[kind] = {"status": immediate.status.code, **mutation(immediate.headers)}
        if immediate.body:
            out[kind]["body"] = immediate.body.decode()
    elif kind in ("request_trailers", "response_trailers"):
        out[kind] = mutation(getattr(response, kind).header_mutation)
    elif kind:
        out[kind] = common(getattr(response, kind).response)
    if response.HasField("dynamic_metadata"):
        out["dynamic_metadata"] = plain(response.dynamic_metadata)
    if response.HasField("mode_override"):
        out["mode_override"] = {str(field.number): value
                                for field, value in response.mode_override.ListFields()}
    return out


def common(response):
    out = mutation(response.header_mutation)
    if response.clear_route_cache:
        out["clear_route_cache"] = True
    kind = response.body_mutation.WhichOneof("mutation")
    if kind == "streamed_response":
        out["streamed"] = response.body_mutation.streamed_response.body.decode()
        if response.body_mutation.streamed_response.end_of_stream:
            out["end_of_stream"] = True
    elif kind == "body":
        out["replace"] = response.body_mutation.body.decode()
    elif kind == "clear_body":
        out["clear"] = True
    return out


def mutation(headers):
    out = {}
    if headers.set_headers:
        out["set"] = []
        for option in headers.set_headers:
            assert option.append_action == OVERWRITE and not option.header.value, option
            out["set"].append([option.header.key, option.header.raw_value.decode()])
    if headers.remove_headers:
        out["remove"] = list(headers.remove_headers)
    return out


def plain(struct):
    """A google.protobuf.Struct as Python values."""
    return {key: plain(value) if hasattr(value, "fields") else value
            for key, value in struct.items()}


class Client:
    """A channel to a picker. Use as a context manager."""

    def __init__(self, port, certificate=None, options=()):
        target = f"127.0.0.1:{port}"
        if certificate is None:
            self.channel = grpc.insecure_channel(target, list(options))
        else:
            self.channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(certificate),
                                               [("grpc.ssl_target_name_override", "localhost"),
                                                *options])
        self.process = self.channel.stream_stream(
            METHOD, messages.ProcessingRequest.SerializeToString,
            messages.ProcessingResponse.FromString)
        self.check = self.channel.unary_unary(HEALTH, bytes, bytes)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def open(self, compression=None):
        return Stream(self.process, compression)

    def health(self, service=""):
        """1: SERVING, 2: NOT_SERVING."""
        name = service.encode()
        reply = self.check(b"\x0a" + bytes([len(name)]) + name if name else b"", timeout=WAIT_S,
                           wait_for_ready=True)
        return reply[1] if reply else 0


class Stream:
    """One HTTP request at the picker."""

    def __init__(self, process, compression):
        self.requests = queue.SimpleQueue()
        self.call = process(iter(self.requests.get, None), timeout=WAIT_S, compression=compression)

    def send(self, *requests):
        for message in requests:
            self.requests.put(encode(message))

    def half_close(self):
        self.requests.put(None)

    def answer(self):
        """The next message; None after the last one. A gRPC error is raised as grpc.RpcError."""
        try:
            return decode(next(self.call))
        except StopIteration:
            return None

    def end(self):
        """(status code's name, text) of the ended stream."""
        return self.call.code().name, self.call.details()

    def cancel(self):
        self.requests.put(None)
        self.call.cancel()
