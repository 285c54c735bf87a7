package envoy

// Messages of TLS transport sockets and secrets.
const (
	tlsMessages      = "envoy.extensions.transport_sockets.tls.v3."
	downstreamTLS    = tlsMessages + "DownstreamTlsContext"
	upstreamTLS      = tlsMessages + "UpstreamTlsContext"
	secretMessage    = tlsMessages + "Secret"
	transportSockets = onlyRawBuffer + " " + downstreamTLS + " " + upstreamTLS + " " + upstreamProxyMessage + " " + internalUpstreamMessage
)

// Reasons shared by the entries below.
const (
	useCertificates = "use tls_certificates or tls_certificate_sds_secret_configs"
	useValidation   = "use validation_context, validation_context_sds_secret_config or combined_validation_context"
	noExtensions    = "extensions of TLS are not part of this version"
	noTransparency  = "certificate transparency is not part of this version"
	sameDirectory   = "the directory that the files are in, which is watched anyway"
)

var tlsSupport = []messageSupport{
	{
		message: downstreamTLS,
		fields: "common_tls_context require_client_certificate require_sni session_ticket_keys session_ticket_keys_sds_secret_config " +
			"disable_stateless_session_resumption session_timeout ocsp_staple_policy full_scan_certs_on_sni_mismatch prefer_client_ciphers",
		muted: map[string]string{
			"disable_stateful_session_resumption": "there is no cache of sessions: they resume by tickets only",
		},
		hints: map[string]string{"session_timeout": "whole seconds"},
	},
	{
		message: upstreamTLS,
		fields:  "common_tls_context sni auto_host_sni auto_sni_san_validation max_session_keys enforce_rsa_key_usage",
		hints:   map[string]string{"allow_renegotiation": "renegotiation is always refused"},
	},
	{
		message: tlsMessages + "CommonTlsContext",
		fields: "tls_params tls_certificates tls_certificate_sds_secret_configs validation_context validation_context_sds_secret_config " +
			"combined_validation_context alpn_protocols",
		hints: map[string]string{
			"tls_certificates":                                 "one for clusters",
			"tls_certificate_sds_secret_configs":               "one for clusters",
			"tls_certificate_provider_instance":                useCertificates,
			"tls_certificate_certificate_provider":             useCertificates,
			"tls_certificate_certificate_provider_instance":    useCertificates,
			"validation_context_certificate_provider":          useValidation,
			"validation_context_certificate_provider_instance": useValidation,
			"custom_tls_certificate_selector":                  "certificates are chosen by server name and type of key",
			"custom_handshaker":                                noExtensions,
			"key_log":                                          "the secrets of connections are never written to a file",
		},
	},
	{
		message: tlsMessages + "CommonTlsContext.CombinedCertificateValidationContext",
		fields:  "default_validation_context validation_context_sds_secret_config",
		hints: map[string]string{
			"validation_context_certificate_provider":          useValidation,
			"validation_context_certificate_provider_instance": useValidation,
		},
	},
	{
		message: tlsMessages + "TlsParameters",
		fields:  "tls_minimum_protocol_version tls_maximum_protocol_version cipher_suites ecdh_curves",
		hints: map[string]string{
			"cipher_suites":        "names, also grouped as [A|B]; a group is its members in their order",
			"signature_algorithms": "signature algorithms follow from the certificates and what the peer offers",
			"compliance_policies":  "write the versions, cipher_suites and ecdh_curves of the policy",
		},
	},
	{
		message: tlsMessages + "TlsCertificate",
		fields:  "certificate_chain private_key password ocsp_staple watched_directory",
		hints: map[string]string{
			"watched_directory":            sameDirectory,
			"pkcs12":                       "use certificate_chain and private_key",
			"private_key_provider":         noExtensions,
			"signed_certificate_timestamp": noTransparency,
			"tls_params":                   "use tls_params of common_tls_context",
		},
	},
	{
		message: tlsMessages + "CertificateValidationContext",
		fields: "trusted_ca watched_directory verify_certificate_spki verify_certificate_hash match_typed_subject_alt_names " +
			"match_subject_alt_names crl allow_expired_certificate trust_chain_verification only_verify_leaf_cert_crl max_verify_depth",
		hints: map[string]string{
			"watched_directory":                    sameDirectory,
			"system_root_certs":                    "name the file of the system's certificates in trusted_ca",
			"ca_certificate_provider_instance":     "use trusted_ca",
			"custom_validator_config":              noExtensions,
			"require_signed_certificate_timestamp": noTransparency,
			"suppress_client_ca_list":              "clients are always told whose certificates are trusted",
		},
	},
	{
		message: tlsMessages + "SubjectAltNameMatcher",
		fields:  "san_type matcher",
		values:  map[string]string{"san_type": "EMAIL DNS URI IP_ADDRESS"},
		hints:   map[string]string{"oid": "only names of the type OTHER_NAME have one"},
	},
	{message: tlsMessages + "TlsSessionTicketKeys", fields: "keys"},
	{
		message: tlsMessages + "SdsSecretConfig",
		fields:  "name sds_config",
		hints: map[string]string{
			"sds_config": "path_config_source of a file that holds a Secret or a DiscoveryResponse; it is read when the configuration is loaded",
		},
	},
	{
		message: secretMessage,
		fields:  "name tls_certificate session_ticket_keys validation_context",
		hints:   map[string]string{"generic_secret": "nothing that uses one is part of this version"},
	},
	{
		message: "envoy.config.core.v3.WatchedDirectory",
		fields:  "path",
		muted:   map[string]string{"watch_modify": "files that are written in place are noticed anyway"},
	},
}
