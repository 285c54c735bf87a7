package envoy

const http2Message = "envoy.config.core.v3.Http2ProtocolOptions"

const noHTTP3 = "HTTP/3 is not part of this version"

var http2Support = []messageSupport{
	{
		message: http2Message,
		fields: "hpack_table_size max_concurrent_streams initial_stream_window_size initial_connection_window_size allow_connect " +
			"max_outbound_frames max_outbound_control_frames max_consecutive_inbound_frames_with_empty_payload " +
			"max_inbound_priority_frames_per_stream max_inbound_window_update_frames_per_data_frame_sent " +
			"stream_error_on_invalid_http_messaging override_stream_error_on_invalid_http_message connection_keepalive",
		muted: map[string]string{
			"use_oghttp2_codec":       "there is one HTTP/2 codec",
			"enable_huffman_encoding": "fields are written in Huffman code where that is shorter",
			"max_metadata_size":       "METADATA frames are not part of this version",
		},
		hints: map[string]string{
			"allow_metadata":             "METADATA frames are not part of this version",
			"custom_settings_parameters": "settings are sent as the named fields say",
			"max_header_field_size_kb":   "max_request_headers_kb and max_response_headers_kb bound all fields together",
			"disallow_obs_text":          "values may hold bytes from 0x80 on, as with HTTP/1",
			"stream_reset_burst":         earlyResets,
			"stream_reset_rate":          earlyResets,
		},
	},
	{
		message: "envoy.config.core.v3.KeepaliveSettings",
		fields:  "interval timeout interval_jitter connection_idle_interval",
		hints:   map[string]string{"connection_idle_interval": "clusters only"},
	},
}

const earlyResets = "a connection is ended by the share of its streams that are reset early"
