/* A load balancer for nginx: in an upstream block, weir picks the server of each request.
 *
 *   upstream models {
 *       server 10.0.0.1:8000;
 *       server 10.0.0.2:8000;
 *       weir pipeline.yaml;          # or: weir; for the default pipeline
 *   }
 *   location /v1/  { proxy_pass http://models; }
 *   location /weir { weir_status models; }
 *
 * Each worker has a router of its own and counts the requests that it proxies itself. The master
 * makes one, too, to check the pipeline, and drops it: a copy of it would draw alike everywhere. */
#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <weir/c/weir.h>

/* Headers that are shown to weir; it takes no more. */
#define NGX_HTTP_WEIR_HEADERS_MAX 128
#define NGX_HTTP_WEIR_TARGETS_MAX 16
#define NGX_HTTP_WEIR_PIPELINE_BYTES ((1 << 20) + 1) /* one more than weir takes: it says so */

typedef struct {
  struct sockaddr* sockaddr;
  socklen_t socklen;
  ngx_str_t name;
  weir_endpoint_id id;
} ngx_http_weir_server_t;

typedef struct {
  ngx_str_t pipeline;  /* its file; empty: the default */
  ngx_str_t text;      /* what it held at the start: workers may not be allowed to read it */
  ngx_array_t servers; /* ngx_http_weir_server_t; the block is not of weir if it has none */
  weir_router* router; /* null in the master */
  weir_intake* intake; /* a worker has one thread */
} ngx_http_weir_srv_conf_t;

/* One request: its decision, and the flight to the server that is tried now. */
typedef struct {
  ngx_http_weir_srv_conf_t* conf;
  ngx_http_request_t* request;
  weir_decision decision;
  weir_flight flight;
  weir_target targets[NGX_HTTP_WEIR_TARGETS_MAX];
  uint64_t target_count;
  ngx_uint_t tries; /* that nginx allows, 0 before the first one */
} ngx_http_weir_ctx_t;

static char* ngx_http_weir(ngx_conf_t* cf, ngx_command_t* cmd, void* conf);
static char* ngx_http_weir_status(ngx_conf_t* cf, ngx_command_t* cmd, void* conf);
static void* ngx_http_weir_create_srv_conf(ngx_conf_t* cf);
static void* ngx_http_weir_create_loc_conf(ngx_conf_t* cf);
static ngx_int_t ngx_http_weir_add_filter(ngx_conf_t* cf);
static ngx_int_t ngx_http_weir_init_process(ngx_cycle_t* cycle);

static ngx_http_output_body_filter_pt ngx_http_weir_next_body_filter;

static ngx_command_t ngx_http_weir_commands[] = {
    {ngx_string("weir"), NGX_HTTP_UPS_CONF | NGX_CONF_NOARGS | NGX_CONF_TAKE1, ngx_http_weir,
     NGX_HTTP_SRV_CONF_OFFSET, 0, NULL},
    {ngx_string("weir_status"), NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1, ngx_http_weir_status,
     NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    ngx_null_command};

static ngx_http_module_t ngx_http_weir_module_ctx = {
    NULL, ngx_http_weir_add_filter,      NULL, NULL, ngx_http_weir_create_srv_conf,
    NULL, ngx_http_weir_create_loc_conf, NULL};

ngx_module_t ngx_http_weir_module = {NGX_MODULE_V1,
                                     &ngx_http_weir_module_ctx,
                                     ngx_http_weir_commands,
                                     NGX_HTTP_MODULE,
                                     NULL,
                                     NULL,
                                     ngx_http_weir_init_process,
                                     NULL,
                                     NULL,
                                     NULL,
                                     NULL,
                                     NGX_MODULE_V1_PADDING};

static weir_str ngx_http_weir_str(ngx_str_t text) {
  weir_str result = {(const char*)text.data, text.len};
  return result;
}

/* ---- Choosing ---- */

/* The whole body, if it is in memory; empty if there is none, or it was written to a file. */
static weir_str ngx_http_weir_body(ngx_http_request_t* r) {
  weir_str body = {NULL, 0};
  size_t size = 0;
  ngx_chain_t* link;
  u_char* copy;
  if (r->request_body == NULL || r->request_body_no_buffering) return body;
  for (link = r->request_body->bufs; link != NULL; link = link->next) {
    if (link->buf->in_file) return body;
    size += link->buf->last - link->buf->pos;
  }
  link = r->request_body->bufs;
  if (link == NULL) return body;
  body.size = size;
  body.data = (const char*)link->buf->pos;
  if (link->next == NULL) return body;
  copy = ngx_pnalloc(r->pool, size);
  body.data = (const char*)copy;
  if (copy == NULL) body.size = 0;
  for (; copy != NULL && link != NULL; link = link->next) {
    copy = ngx_cpymem(copy, link->buf->pos, link->buf->last - link->buf->pos);
  }
  return body;
}

/* Stores the request's headers and returns how many. Without "prefer": nginx has no other status
 * than 502 for a request that must not go to any server. */
static uint64_t ngx_http_weir_headers(ngx_http_request_t* r, weir_header* headers) {
  uint64_t count = 0;
  ngx_uint_t i;
  ngx_list_part_t* part;
  for (part = &r->headers_in.headers.part; part != NULL; part = part->next) {
    ngx_table_elt_t* elements = part->elts;
    for (i = 0; i < part->nelts && count < NGX_HTTP_WEIR_HEADERS_MAX; ++i) {
      ngx_str_t name = {elements[i].key.len, elements[i].lowcase_key};
      if (name.len == 6 && ngx_strncmp(name.data, "prefer", 6) == 0) continue;
      headers[count].name = ngx_http_weir_str(name);
      headers[count++].value = ngx_http_weir_str(elements[i].value);
    }
  }
  return count;
}

/* A body that weir cannot read goes to any server: that one says what is wrong with it. */
static weir_code ngx_http_weir_decide(ngx_http_weir_ctx_t* ctx, weir_buffer* error) {
  ngx_http_request_t* r = ctx->request;
  weir_header headers[NGX_HTTP_WEIR_HEADERS_MAX];
  weir_http_request request = weir_http_request_init();
  weir_code code = WEIR_INVALID_ARGUMENT;
  request.path = ngx_http_weir_str(r->uri);
  request.headers = headers;
  request.header_count = ngx_http_weir_headers(r, headers);
  request.body = ngx_http_weir_body(r);
  if (request.body.size != 0) {
    request.flags = WEIR_HTTP_MODEL_OPTIONAL;
    code = weir_intake_decide(ctx->conf->intake, &request, &ctx->decision, NULL, error);
  }
  if (code == WEIR_INVALID_ARGUMENT || code == WEIR_OUT_OF_RANGE) {
    request.flags = WEIR_HTTP_HEADERS_ONLY;
    request.body = weir_text("");
    code = weir_intake_decide(ctx->conf->intake, &request, &ctx->decision, NULL, error);
  }
  return code;
}

static ngx_int_t ngx_http_weir_get_peer(ngx_peer_connection_t* pc, void* data) {
  ngx_http_weir_ctx_t* ctx = data;
  ngx_http_weir_server_t* servers = ctx->conf->servers.elts;
  ngx_uint_t i, tried;
  weir_target* target;
  if (ctx->tries == 0) ctx->tries = pc->tries;
  /* free_peer takes one try. nginx gives it back if the server had closed a kept connection, which
   * says nothing about the server: it is the next target again. */
  tried = ctx->tries - pc->tries;
  if (tried >= ctx->target_count) return NGX_BUSY;
  target = &ctx->targets[tried];
  for (i = 0; i < ctx->conf->servers.nelts; ++i) {
    if (servers[i].id.slot == target->id.slot) break;
  }
  if (i == ctx->conf->servers.nelts) return NGX_ERROR;
  /* Above weir's limit of flights the request is served uncounted. */
  (void)weir_begin(&ctx->decision, (uint32_t)tried, &ctx->flight, NULL);
  pc->cached = 0;
  pc->connection = NULL;
  pc->sockaddr = servers[i].sockaddr;
  pc->socklen = servers[i].socklen;
  pc->name = &servers[i].name;
  return NGX_OK;
}

/* Whether the server answered, and did not say that it failed. */
static ngx_flag_t ngx_http_weir_is_ok(ngx_http_upstream_t* u) {
  return u->headers_in.status_n != 0 && u->headers_in.status_n < NGX_HTTP_INTERNAL_SERVER_ERROR;
}

/* Whether the answer came to its end, by the conditions under which nginx itself says so. */
static ngx_flag_t ngx_http_weir_is_whole(ngx_http_request_t* r, ngx_peer_connection_t* pc) {
  ngx_http_upstream_t* u = r->upstream;
  if (!u->header_sent) return 0;
  if (r->header_only || u->upgrade || pc->connection == NULL) return 1; /* null: it is kept */
  if (u->buffering) {
    return u->pipe->upstream_done || (u->pipe->upstream_eof && u->pipe->length == -1);
  }
  return u->length == 0 || (u->length == -1 && pc->connection->read->eof);
}

static void ngx_http_weir_free_peer(ngx_peer_connection_t* pc, void* data, ngx_uint_t state) {
  ngx_http_weir_ctx_t* ctx = data;
  ngx_http_request_t* r = ctx->request;
  weir_usage usage = weir_usage_init();
  if (state & NGX_PEER_FAILED) {
    usage.end = WEIR_END_FAILED;
  } else if (r->connection->error) {
    usage.end = WEIR_END_CLIENT_GONE;
  } else if (!ngx_http_weir_is_ok(r->upstream) || !ngx_http_weir_is_whole(r, pc)) {
    usage.end = WEIR_END_FAILED;
  }
  (void)weir_flight_finish(&ctx->flight, &usage);
  if (pc->tries > 0) --pc->tries;
}

#if (NGX_HTTP_SSL)
/* TLS sessions are not kept; nginx calls these all the same. */
static ngx_int_t ngx_http_weir_set_session(ngx_peer_connection_t* pc, void* data) {
  (void)pc;
  (void)data;
  return NGX_OK;
}

static void ngx_http_weir_save_session(ngx_peer_connection_t* pc, void* data) {
  (void)pc;
  (void)data;
}
#endif

/* Of the request's pool: whatever nginx did not end by free_peer. */
static void ngx_http_weir_cleanup(void* data) {
  ngx_http_weir_ctx_t* ctx = data;
  weir_usage usage = weir_usage_init();
  usage.end = WEIR_END_FAILED;
  (void)weir_flight_finish(&ctx->flight, &usage);
  weir_decision_release(&ctx->decision);
}

static ngx_int_t ngx_http_weir_init_peer(ngx_http_request_t* r, ngx_http_upstream_srv_conf_t* us) {
  char text[256];
  weir_buffer error = {text, sizeof(text), 0};
  weir_code code;
  ngx_pool_cleanup_t* cleanup = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_weir_ctx_t));
  ngx_http_weir_ctx_t* ctx;
  if (cleanup == NULL) return NGX_ERROR;
  ctx = cleanup->data;
  ngx_memzero(ctx, sizeof(*ctx));
  ctx->conf = ngx_http_conf_upstream_srv_conf(us, ngx_http_weir_module);
  ctx->request = r;
  cleanup->handler = ngx_http_weir_cleanup;
  code = ngx_http_weir_decide(ctx, &error);
  if (code != WEIR_OK) {
    /* No target is left to try: nginx answers 502. */
    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0, "weir: %s: %s", weir_code_name(code).data,
                  text);
  } else {
    (void)weir_decision_targets(&ctx->decision, ctx->targets, NGX_HTTP_WEIR_TARGETS_MAX,
                                &ctx->target_count);
  }
  ngx_http_set_ctx(r, ctx, ngx_http_weir_module);
  r->upstream->peer.data = ctx;
  r->upstream->peer.get = ngx_http_weir_get_peer;
  r->upstream->peer.free = ngx_http_weir_free_peer;
#if (NGX_HTTP_SSL)
  r->upstream->peer.set_session = ngx_http_weir_set_session;
  r->upstream->peer.save_session = ngx_http_weir_save_session;
#endif
  r->upstream->peer.tries = ctx->target_count > 0 ? ctx->target_count : 1;
  return NGX_OK;
}

static ngx_flag_t ngx_http_weir_has_bytes(ngx_chain_t* in) {
  while (in != NULL && ngx_buf_size(in->buf) == 0) in = in->next;
  return in != NULL;
}

/* The first byte of the answer's body stands for the first token, if it is not that of an error. */
static ngx_int_t ngx_http_weir_body_filter(ngx_http_request_t* r, ngx_chain_t* in) {
  ngx_http_weir_ctx_t* ctx = ngx_http_get_module_ctx(r, ngx_http_weir_module);
  if (ctx != NULL && ngx_http_weir_is_ok(r->upstream) && ngx_http_weir_has_bytes(in)) {
    (void)weir_flight_first_token(&ctx->flight);
  }
  return ngx_http_weir_next_body_filter(r, in);
}

static ngx_int_t ngx_http_weir_add_filter(ngx_conf_t* cf) {
  (void)cf;
  ngx_http_weir_next_body_filter = ngx_http_top_body_filter;
  ngx_http_top_body_filter = ngx_http_weir_body_filter;
  return NGX_OK;
}

/* ---- Configuration ---- */

static void ngx_http_weir_log(void* context, uint32_t level, weir_str text) {
  ngx_str_t line = {text.size, (u_char*)text.data};
  const ngx_uint_t severity = level >= WEIR_LOG_WARNING ? NGX_LOG_WARN : NGX_LOG_INFO;
  (void)context;
  ngx_log_error(severity, ngx_cycle->log, 0, "weir: %V", &line);
}

static void ngx_http_weir_destroy(void* data) {
  ngx_http_weir_srv_conf_t* conf = data;
  weir_intake_destroy(&conf->intake);
  weir_router_destroy(&conf->router);
}

/* Makes router and intake from what the configuration left in conf. */
static ngx_int_t ngx_http_weir_create(ngx_http_weir_srv_conf_t* conf, ngx_log_t* log) {
  char text[1024];
  weir_buffer error = {text, sizeof(text), 0};
  weir_router_options options = weir_router_options_init();
  ngx_http_weir_server_t* servers = conf->servers.elts;
  ngx_uint_t i;
  options.config_text = ngx_http_weir_str(conf->text);
  options.config_name = ngx_http_weir_str(conf->pipeline);
  options.log = ngx_http_weir_log;
  if (weir_router_create(&options, &conf->router, &error) != WEIR_OK ||
      weir_intake_create(conf->router, 0, &conf->intake, &error) != WEIR_OK) {
    ngx_log_error(NGX_LOG_EMERG, log, 0, "weir: %s", text);
    return NGX_ERROR;
  }
  for (i = 0; i < conf->servers.nelts; ++i) {
    weir_endpoint endpoint = weir_endpoint_init();
    endpoint.name = endpoint.address = ngx_http_weir_str(servers[i].name);
    if (weir_pool_upsert(conf->router, &endpoint, &servers[i].id, &error) != WEIR_OK) {
      ngx_log_error(NGX_LOG_EMERG, log, 0, "weir: %s", text);
      return NGX_ERROR;
    }
  }
  return NGX_OK;
}

static ngx_int_t ngx_http_weir_init_process(ngx_cycle_t* cycle) {
  ngx_http_upstream_main_conf_t* main =
      ngx_http_cycle_get_module_main_conf(cycle, ngx_http_upstream_module);
  ngx_http_upstream_srv_conf_t** upstreams;
  ngx_http_weir_srv_conf_t* conf;
  ngx_uint_t i;
  if (main == NULL) return NGX_OK; /* no http block */
  upstreams = main->upstreams.elts;
  for (i = 0; i < main->upstreams.nelts; ++i) {
    if (upstreams[i]->srv_conf == NULL) continue;
    conf = ngx_http_conf_upstream_srv_conf(upstreams[i], ngx_http_weir_module);
    if (conf->servers.elts != NULL && ngx_http_weir_create(conf, cycle->log) != NGX_OK) {
      return NGX_ERROR;
    }
  }
  return NGX_OK;
}

static ngx_int_t ngx_http_weir_read(ngx_conf_t* cf, ngx_http_weir_srv_conf_t* conf) {
  ngx_file_t file;
  ssize_t size = NGX_ERROR;
  ngx_memzero(&file, sizeof(file));
  file.name = conf->pipeline;
  file.log = cf->log;
  file.fd = ngx_open_file(file.name.data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);
  if (file.fd == NGX_INVALID_FILE) {
    ngx_log_error(NGX_LOG_EMERG, cf->log, ngx_errno, ngx_open_file_n " \"%V\" failed", &file.name);
    return NGX_ERROR;
  }
  conf->text.data = ngx_palloc(cf->pool, NGX_HTTP_WEIR_PIPELINE_BYTES);
  if (conf->text.data != NULL) {
    size = ngx_read_file(&file, conf->text.data, NGX_HTTP_WEIR_PIPELINE_BYTES, 0);
  }
  ngx_close_file(file.fd);
  if (size == NGX_ERROR) return NGX_ERROR;
  conf->text.len = size;
  return NGX_OK;
}

/* What weir would have to ignore: it balances by the pipeline, and checks no server's health. */
static ngx_flag_t ngx_http_weir_has_options(const ngx_http_upstream_server_t* server) {
  return server->backup || server->weight != 1 || server->max_conns != 0 ||
         server->max_fails != 1 || server->fail_timeout != 10 || server->slow_start != 0;
}

static ngx_int_t ngx_http_weir_init_upstream(ngx_conf_t* cf, ngx_http_upstream_srv_conf_t* us) {
  ngx_http_weir_srv_conf_t* conf = ngx_http_conf_upstream_srv_conf(us, ngx_http_weir_module);
  ngx_pool_cleanup_t* cleanup = ngx_pool_cleanup_add(cf->pool, 0);
  ngx_http_upstream_server_t* servers;
  ngx_http_weir_server_t* server;
  ngx_uint_t i, n;
  if (cleanup == NULL || us->servers == NULL) return NGX_ERROR;
  if (ngx_array_init(&conf->servers, cf->pool, 8, sizeof(ngx_http_weir_server_t)) != NGX_OK) {
    return NGX_ERROR;
  }
  cleanup->handler = ngx_http_weir_destroy;
  cleanup->data = conf;
  servers = us->servers->elts;
  for (i = 0; i < us->servers->nelts; ++i) {
    if (ngx_http_weir_has_options(&servers[i])) {
      ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                    "weir: server \"%V\": takes no parameter but \"down\"", &servers[i].name);
      return NGX_ERROR;
    }
    for (n = 0; n < servers[i].naddrs && !servers[i].down; ++n) {
      server = ngx_array_push(&conf->servers);
      if (server == NULL) return NGX_ERROR;
      server->sockaddr = servers[i].addrs[n].sockaddr;
      server->socklen = servers[i].addrs[n].socklen;
      server->name = servers[i].addrs[n].name;
    }
  }
  if (conf->pipeline.len != 0 && ngx_http_weir_read(cf, conf) != NGX_OK) return NGX_ERROR;
  if (ngx_http_weir_create(conf, cf->log) != NGX_OK) return NGX_ERROR;
  ngx_http_weir_destroy(conf);
  us->peer.init = ngx_http_weir_init_peer;
  return NGX_OK;
}

static char* ngx_http_weir(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
  ngx_http_weir_srv_conf_t* conf = data;
  ngx_http_upstream_srv_conf_t* us =
      ngx_http_conf_get_module_srv_conf(cf, ngx_http_upstream_module);
  ngx_str_t* values = cf->args->elts;
  (void)cmd;
  if (us->peer.init_upstream != NULL) return "follows another load balancing method";
  if (cf->args->nelts > 1) {
    conf->pipeline = values[1];
    if (ngx_conf_full_name(cf->cycle, &conf->pipeline, 1) != NGX_OK) return NGX_CONF_ERROR;
  }
  us->peer.init_upstream = ngx_http_weir_init_upstream;
  us->flags = NGX_HTTP_UPSTREAM_CREATE | NGX_HTTP_UPSTREAM_DOWN;
  return NGX_CONF_OK;
}

static void* ngx_http_weir_create_srv_conf(ngx_conf_t* cf) {
  return ngx_pcalloc(cf->pool, sizeof(ngx_http_weir_srv_conf_t));
}

/* ---- weir_status: this worker's counters, in Prometheus' text form ---- */

static void* ngx_http_weir_create_loc_conf(ngx_conf_t* cf) {
  return ngx_pcalloc(cf->pool, sizeof(ngx_str_t)); /* name of the upstream block */
}

static weir_router* ngx_http_weir_find(ngx_http_request_t* r, ngx_str_t* name) {
  ngx_http_upstream_main_conf_t* main = ngx_http_get_module_main_conf(r, ngx_http_upstream_module);
  ngx_http_upstream_srv_conf_t** upstreams = main->upstreams.elts;
  ngx_http_weir_srv_conf_t* conf;
  ngx_uint_t i;
  for (i = 0; i < main->upstreams.nelts; ++i) {
    if (upstreams[i]->srv_conf == NULL || upstreams[i]->host.len != name->len ||
        ngx_strncmp(upstreams[i]->host.data, name->data, name->len) != 0) {
      continue;
    }
    conf = ngx_http_conf_upstream_srv_conf(upstreams[i], ngx_http_weir_module);
    return conf->router;
  }
  return NULL;
}

static ngx_int_t ngx_http_weir_status_handler(ngx_http_request_t* r) {
  weir_router* router =
      ngx_http_weir_find(r, ngx_http_get_module_loc_conf(r, ngx_http_weir_module));
  weir_buffer page = {NULL, 0, 0};
  ngx_buf_t* buffer;
  ngx_chain_t out;
  ngx_int_t rc = ngx_http_discard_request_body(r);
  if (rc != NGX_OK) return rc;
  if (router == NULL) return NGX_HTTP_NOT_FOUND;
  (void)weir_router_metrics(router, &page); /* for its size, which may grow by a digit or two */
  buffer = ngx_create_temp_buf(r->pool, page.size + 256);
  if (buffer == NULL) return NGX_HTTP_INTERNAL_SERVER_ERROR;
  page.data = (char*)buffer->pos;
  page.capacity = page.size + 256;
  if (weir_router_metrics(router, &page) != WEIR_OK) return NGX_HTTP_INTERNAL_SERVER_ERROR;
  buffer->last = buffer->pos + page.size;
  buffer->last_buf = 1;
  ngx_str_set(&r->headers_out.content_type, "text/plain");
  r->headers_out.status = NGX_HTTP_OK;
  r->headers_out.content_length_n = page.size;
  rc = ngx_http_send_header(r);
  if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) return rc;
  out.buf = buffer;
  out.next = NULL;
  return ngx_http_output_filter(r, &out);
}

static char* ngx_http_weir_status(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
  ngx_http_core_loc_conf_t* location = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
  ngx_str_t* values = cf->args->elts;
  (void)cmd;
  *(ngx_str_t*)data = values[1];
  location->handler = ngx_http_weir_status_handler;
  return NGX_CONF_OK;
}
