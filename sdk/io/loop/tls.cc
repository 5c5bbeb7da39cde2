#include "weir/io/loop/tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <new>
#include <utility>

#include "weir/io/loop/tls_stream.h"

namespace weir::io {
namespace {

constexpr size_t kReadAheadBytes = 64 * 1024;  // of encrypted input, while there is some
constexpr long kSelfSignedValidSeconds = 10L * 365 * 24 * 3600;

struct SslCtxFree {
  void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
};
using SslCtxPtr = std::unique_ptr<SSL_CTX, SslCtxFree>;

absl::Status FileError(std::string_view file, std::string_view expected) {
  const unsigned long error = ERR_peek_last_error();
  const char* reason = error == 0 ? nullptr : ERR_reason_error_string(error);
  ERR_clear_error();
  std::string text = "TLS: " + std::string(file) + ": ";
  text += reason == nullptr ? "unusable" : reason;
  return absl::InvalidArgumentError(text + ", expected " + std::string(expected));
}

bool AddExtension(X509* certificate, int id, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, id, value);
  if (extension == nullptr) return false;
  const bool added = X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return added;
}

// A certificate for this machine's loopback names, signed by its own key. Good for encryption, not
// for identity.
bool UseSelfSigned(SSL_CTX* context) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  bool good = key != nullptr && certificate != nullptr;
  if (good) {
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), kSelfSignedValidSeconds);
    X509_set_pubkey(certificate, key);
    X509_NAME* name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("weir self-signed"), -1, -1,
                               0);
    X509_set_issuer_name(certificate, name);
    good = AddExtension(certificate, NID_subject_alt_name,
                        "DNS:localhost,IP:127.0.0.1,IP:0:0:0:0:0:0:0:1") &&
           AddExtension(certificate, NID_basic_constraints, "CA:TRUE") &&
           X509_sign(certificate, key, EVP_sha256()) > 0 &&
           SSL_CTX_use_certificate(context, certificate) == 1 &&
           SSL_CTX_use_PrivateKey(context, key) == 1;
  }
  X509_free(certificate);
  EVP_PKEY_free(key);
  return good;
}

absl::Status UseFiles(SSL_CTX* context, const std::string& cert_file, const std::string& key_file) {
  if (SSL_CTX_use_certificate_chain_file(context, cert_file.c_str()) != 1) {
    return FileError(cert_file, "a PEM certificate chain");
  }
  if (SSL_CTX_use_PrivateKey_file(context, key_file.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context) != 1) {
    return FileError(key_file, "the PEM private key of " + cert_file);
  }
  return absl::OkStatus();
}

absl::Status UseAuthorities(SSL_CTX* context, const std::string& ca_file) {
  if (SSL_CTX_load_verify_locations(context, ca_file.c_str(), nullptr) != 1) {
    return FileError(ca_file, "PEM certificates of authorities");
  }
  return absl::OkStatus();
}

// Versions and ciphers of a server.
absl::Status UseRules(SSL_CTX* context, const TlsServerOptions& options) {
  static constexpr int kVersions[] = {TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION};
  SSL_CTX_set_min_proto_version(context, kVersions[static_cast<size_t>(options.version_min)]);
  // Versions below 1.2 sign with SHA-1, which higher levels refuse.
  if (options.version_min < TlsVersion::k12) SSL_CTX_set_security_level(context, 0);
  if (!options.ciphers.empty() && SSL_CTX_set_cipher_list(context, options.ciphers.c_str()) != 1) {
    return FileError("ciphers " + options.ciphers, "names that OpenSSL knows");
  }
  return absl::OkStatus();
}

int SelectAlpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
               unsigned in_size, void* argument) {
  const std::string& ours = *static_cast<const std::string*>(argument);
  unsigned char* chosen = nullptr;
  const int result =
      SSL_select_next_proto(&chosen, out_size, reinterpret_cast<const unsigned char*>(ours.data()),
                            static_cast<unsigned>(ours.size()), in, in_size);
  if (result != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_ALERT_FATAL;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

absl::StatusOr<std::string> AlpnWire(const std::vector<std::string>& names) {
  std::string wire;
  for (const std::string& name : names) {
    if (name.empty() || name.size() > 255) {
      return absl::InvalidArgumentError("TLS: alpn \"" + name + "\", expected 1 to 255 bytes");
    }
    wire.push_back(static_cast<char>(name.size()));
    wire += name;
  }
  return wire;
}

absl::Status CheckPair(const std::string& cert_file, const std::string& key_file) {
  if (cert_file.empty() == key_file.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError("TLS: only one of certificate \"" + cert_file +
                                    "\" and key \"" + key_file + "\" is given, expected both");
}

bool IsNumericAddress(const std::string& name) {
  unsigned char bytes[16];
  return ::inet_pton(AF_INET, name.c_str(), bytes) == 1 ||
         ::inet_pton(AF_INET6, name.c_str(), bytes) == 1;
}

bool SetServerName(SSL* ssl, const std::string& name, bool verify) {
  if (name.empty()) return !verify;  // SSL_set1_host() takes "" for no check
  if (IsNumericAddress(name)) {
    return !verify || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name.c_str()) == 1;
  }
  if (SSL_set_tlsext_host_name(ssl, name.c_str()) != 1) return false;
  return !verify || SSL_set1_host(ssl, name.c_str()) == 1;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TlsContext>> TlsContext::Server(const TlsServerOptions& options) {
  if (absl::Status status = CheckPair(options.cert_file, options.key_file); !status.ok()) {
    return status;
  }
  absl::StatusOr<std::string> alpn = AlpnWire(options.alpn);
  if (!alpn.ok()) return alpn.status();
  std::unique_ptr<TlsContext> made(new TlsContext());
  made->is_server_ = true;
  made->server_ = options;
  made->alpn_wire_ = *std::move(alpn);
  if (absl::Status status = made->Reload(); !status.ok()) return status;
  return made;
}

absl::StatusOr<std::unique_ptr<TlsContext>> TlsContext::Client(const TlsClientOptions& options) {
  if (absl::Status status = CheckPair(options.cert_file, options.key_file); !status.ok()) {
    return status;
  }
  absl::StatusOr<std::string> alpn = AlpnWire(options.alpn);
  if (!alpn.ok()) return alpn.status();
  std::unique_ptr<TlsContext> made(new TlsContext());
  made->client_ = options;
  made->alpn_wire_ = *std::move(alpn);
  if (absl::Status status = made->Reload(); !status.ok()) return status;
  return made;
}

TlsContext::~TlsContext() { SSL_CTX_free(context_); }

absl::Status TlsContext::Reload() {
  absl::StatusOr<SSL_CTX*> fresh = Build();
  if (!fresh.ok()) return fresh.status();
  SSL_CTX* old;
  {
    std::lock_guard lock(mutex_);
    old = std::exchange(context_, *fresh);
  }
  SSL_CTX_free(old);
  return absl::OkStatus();
}

absl::StatusOr<SSL_CTX*> TlsContext::Build() const {
  SslCtxPtr context(SSL_CTX_new(is_server_ ? TLS_server_method() : TLS_client_method()));
  if (context == nullptr) return absl::ResourceExhaustedError("TLS: no memory for a context");
  SSL_CTX* raw = context.get();
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  if (is_server_) {
    if (absl::Status status = UseRules(raw, server_); !status.ok()) return status;
  }
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(raw, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_RELEASE_BUFFERS);
  // One recv for several records, instead of two for each.
  SSL_CTX_set_read_ahead(raw, 1);
  SSL_CTX_set_default_read_buffer_len(raw, kReadAheadBytes);
  const std::string& cert_file = is_server_ ? server_.cert_file : client_.cert_file;
  const std::string& key_file = is_server_ ? server_.key_file : client_.key_file;
  if (!cert_file.empty()) {
    if (absl::Status status = UseFiles(raw, cert_file, key_file); !status.ok()) return status;
  } else if (is_server_ && !UseSelfSigned(raw)) {
    return FileError("self-signed certificate", "a working random source");
  }
  const std::string& ca_file = is_server_ ? server_.client_ca_file : client_.ca_file;
  const bool verify = is_server_ ? !ca_file.empty() : client_.verify;
  if (!ca_file.empty()) {
    if (absl::Status status = UseAuthorities(raw, ca_file); !status.ok()) return status;
  } else if (verify) {
    SSL_CTX_set_default_verify_paths(raw);
  }
  const int require = is_server_ ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0;
  SSL_CTX_set_verify(raw, verify ? SSL_VERIFY_PEER | require : SSL_VERIFY_NONE, nullptr);
  if (is_server_) {
    static constexpr unsigned char kSessionContext[] = "weir";
    SSL_CTX_set_session_id_context(raw, kSessionContext, sizeof kSessionContext - 1);
    SSL_CTX_set_alpn_select_cb(raw, SelectAlpn, const_cast<std::string*>(&alpn_wire_));
  } else if (SSL_CTX_set_alpn_protos(raw, reinterpret_cast<const unsigned char*>(alpn_wire_.data()),
                                     static_cast<unsigned>(alpn_wire_.size())) != 0) {
    return FileError("alpn", "a list of protocol names");
  }
  return context.release();
}

Stream TlsContext::NewStream(UniqueFd socket, std::string_view server_name) const {
  SSL* ssl;
  {
    std::lock_guard lock(mutex_);
    ssl = SSL_new(context_);
  }
  if (ssl == nullptr) return Stream();
  std::unique_ptr<TlsStream> tls(new (std::nothrow) TlsStream(ssl));
  if (tls == nullptr) {
    SSL_free(ssl);
    return Stream();
  }
  if (!AttachSocket(ssl, socket.get())) return Stream();
  if (is_server_) {
    SSL_set_accept_state(ssl);
  } else {
    if (!SetServerName(ssl, std::string(server_name), client_.verify)) return Stream();
    SSL_set_connect_state(ssl);
  }
  return Stream(Stream::Kind::kTls, std::move(socket), tls.release());
}

}  // namespace weir::io
