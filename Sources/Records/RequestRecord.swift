/// A user-defined attribute of a request.
package struct RecordTag: Hashable, Sendable {
    /// The attribute's name.
    package var key: String
    /// The attribute's value.
    package var value: String

    /// Makes a tag.
    package init(key: String, value: String) {
        self.key = key
        self.value = value
    }
}

/// A captured head or body, masked and possibly truncated.
package struct RecordCapture: Hashable, Sendable {
    /// The bytes that were kept.
    package var data: [UInt8]
    /// How many there were.
    package var originalLength: UInt64

    /// Makes a capture.
    package init(data: [UInt8] = [], originalLength: UInt64 = 0) {
        self.data = data
        self.originalLength = originalLength
    }
}

/// A record as a Swift value: for tests, imports, markers and tools, not for the hot path.
///
/// Empty text and zero numbers stand for absent fields. Fields that this version does not know are
/// kept byte for byte in `unknownFields` and encoded last. Text that is not UTF-8 is replaced.
package struct RequestRecord: Equatable, Sendable {
    /// `schema_version`; 0 when absent.
    package var schemaVersion: UInt32 = 0
    /// `log_id`; nil when absent or not 16 bytes.
    package var logID: LogID?
    /// `offset` within the log.
    package var offset: Offset = .zero
    /// `kind`; unspecified when absent or unknown.
    package var kind: RecordKind = .unspecified
    /// `completed_at`; 0 when absent.
    package var completedAt: Int64 = 0
    /// `outcome`; unspecified when absent or unknown.
    package var outcome: Outcome = .unspecified
    /// `org`; empty when absent.
    package var org = ""
    /// `api`; empty when absent.
    package var api = ""
    /// `route`; empty when absent.
    package var route = ""
    /// `method`; empty when absent.
    package var method = ""
    /// `status`; nil when not known.
    package var status: UInt32?
    /// `duration_us`; nil when not known.
    package var durationUS: UInt64?
    /// `upstream_duration_us`; nil when not known.
    package var upstreamDurationUS: UInt64?
    /// `response_bytes`; 0 when absent.
    package var responseBytes: UInt64 = 0
    /// `key_id`; empty when absent.
    package var keyID = ""
    /// `request_id`; empty when absent.
    package var requestID: [UInt8] = []
    /// `started_at`; 0 when absent.
    package var startedAt: Int64 = 0
    /// `request_bytes`; 0 when absent.
    package var requestBytes: UInt64 = 0
    /// `api_version`; empty when absent.
    package var apiVersion = ""
    /// `application`; empty when absent.
    package var application = ""
    /// `developer`; empty when absent.
    package var developer = ""
    /// `plan`; empty when absent.
    package var plan = ""
    /// `node`; empty when absent.
    package var node = ""
    /// `region`; empty when absent.
    package var region = ""
    /// `client_ip`; empty when absent.
    package var clientIP = ""
    /// `user_agent`; empty when absent.
    package var userAgent = ""
    /// `user_agent_family`; empty when absent.
    package var userAgentFamily = ""
    /// `platform`; empty when absent.
    package var platform = ""
    /// `country`; empty when absent.
    package var country = ""
    /// `scheme`; empty when absent.
    package var scheme = ""
    /// `host`; empty when absent.
    package var host = ""
    /// `path`; empty when absent.
    package var path = ""
    /// `query`; empty when absent.
    package var query = ""
    /// `upstream_status`; nil when not known.
    package var upstreamStatus: UInt32?
    /// `upstream_address`; empty when absent.
    package var upstreamAddress = ""
    /// `upstream_connect_us`; nil when not known.
    package var upstreamConnectUS: UInt64?
    /// `upstream_first_byte_us`; nil when not known.
    package var upstreamFirstByteUS: UInt64?
    /// `gateway_duration_us`; nil when not known.
    package var gatewayDurationUS: UInt64?
    /// `cache_result`; empty when absent.
    package var cacheResult = ""
    /// `retry_count`; 0 when absent.
    package var retryCount: UInt32 = 0
    /// `trace_id`; empty when absent.
    package var traceID: [UInt8] = []
    /// User-defined attributes in the order of the wire.
    package var tags: [RecordTag] = []
    /// `captured_request`; nil when absent.
    package var capturedRequest: RecordCapture?
    /// `captured_response`; nil when absent.
    package var capturedResponse: RecordCapture?
    /// `predecessor_log_id`; nil when absent or not 16 bytes.
    package var predecessorLogID: LogID?
    /// `next_offset`; nil when not known.
    package var nextOffset: UInt64?
    /// `lane`; 0 when absent.
    package var lane: UInt32 = 0
    /// Encoded fields that this version does not know, in the order of the wire.
    package var unknownFields: [UInt8] = []

    /// Makes a record with every other field absent.
    package init(kind: RecordKind = .unspecified) {
        self.kind = kind
    }
}
