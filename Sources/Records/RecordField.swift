/// The field numbers of `RequestRecord` in `schemas/sluice/v1/request_record.proto`.
package enum RecordField: UInt32, CaseIterable, Sendable, BitwiseCopyable {
    /// Field `schema_version`: uint32.
    case schemaVersion = 1
    /// Field `log_id`: bytes.
    case logID = 2
    /// Field `offset`: uint64.
    case offset = 3
    /// Field `kind`: Kind.
    case kind = 4
    /// Field `completed_at`: int64.
    case completedAt = 5
    /// Field `outcome`: Outcome.
    case outcome = 6
    /// Field `org`: string.
    case org = 7
    /// Field `api`: string.
    case api = 8
    /// Field `route`: string.
    case route = 9
    /// Field `method`: string.
    case method = 10
    /// Field `status`: optional uint32.
    case status = 11
    /// Field `duration_us`: optional uint64.
    case durationUS = 12
    /// Field `upstream_duration_us`: optional uint64.
    case upstreamDurationUS = 13
    /// Field `response_bytes`: uint64.
    case responseBytes = 14
    /// Field `key_id`: string.
    case keyID = 15
    /// Field `request_id`: bytes.
    case requestID = 16
    /// Field `started_at`: int64.
    case startedAt = 17
    /// Field `request_bytes`: uint64.
    case requestBytes = 18
    /// Field `api_version`: string.
    case apiVersion = 19
    /// Field `application`: string.
    case application = 20
    /// Field `developer`: string.
    case developer = 21
    /// Field `plan`: string.
    case plan = 22
    /// Field `node`: string.
    case node = 23
    /// Field `region`: string.
    case region = 24
    /// Field `client_ip`: string.
    case clientIP = 25
    /// Field `user_agent`: string.
    case userAgent = 26
    /// Field `user_agent_family`: string.
    case userAgentFamily = 27
    /// Field `platform`: string.
    case platform = 28
    /// Field `country`: string.
    case country = 29
    /// Field `scheme`: string.
    case scheme = 30
    /// Field `host`: string.
    case host = 31
    /// Field `path`: string.
    case path = 32
    /// Field `query`: string.
    case query = 33
    /// Field `upstream_status`: optional uint32.
    case upstreamStatus = 34
    /// Field `upstream_address`: string.
    case upstreamAddress = 35
    /// Field `upstream_connect_us`: optional uint64.
    case upstreamConnectUS = 36
    /// Field `upstream_first_byte_us`: optional uint64.
    case upstreamFirstByteUS = 37
    /// Field `gateway_duration_us`: optional uint64.
    case gatewayDurationUS = 38
    /// Field `cache_result`: string.
    case cacheResult = 39
    /// Field `retry_count`: uint32.
    case retryCount = 40
    /// Field `trace_id`: bytes.
    case traceID = 41
    /// Field `tags`: repeated Tag.
    case tags = 42
    /// Field `captured_request`: Capture.
    case capturedRequest = 43
    /// Field `captured_response`: Capture.
    case capturedResponse = 44
    /// Field `predecessor_log_id`: bytes.
    case predecessorLogID = 45
    /// Field `next_offset`: optional uint64.
    case nextOffset = 46
    /// Field `lane`: uint32.
    case lane = 47

    /// The name in the proto, which JSON uses too.
    package var name: String {
        switch self {
        case .schemaVersion: "schema_version"
        case .logID: "log_id"
        case .offset: "offset"
        case .kind: "kind"
        case .completedAt: "completed_at"
        case .outcome: "outcome"
        case .org: "org"
        case .api: "api"
        case .route: "route"
        case .method: "method"
        case .status: "status"
        case .durationUS: "duration_us"
        case .upstreamDurationUS: "upstream_duration_us"
        case .responseBytes: "response_bytes"
        case .keyID: "key_id"
        case .requestID: "request_id"
        case .startedAt: "started_at"
        case .requestBytes: "request_bytes"
        case .apiVersion: "api_version"
        case .application: "application"
        case .developer: "developer"
        case .plan: "plan"
        case .node: "node"
        case .region: "region"
        case .clientIP: "client_ip"
        case .userAgent: "user_agent"
        case .userAgentFamily: "user_agent_family"
        case .platform: "platform"
        case .country: "country"
        case .scheme: "scheme"
        case .host: "host"
        case .path: "path"
        case .query: "query"
        case .upstreamStatus: "upstream_status"
        case .upstreamAddress: "upstream_address"
        case .upstreamConnectUS: "upstream_connect_us"
        case .upstreamFirstByteUS: "upstream_first_byte_us"
        case .gatewayDurationUS: "gateway_duration_us"
        case .cacheResult: "cache_result"
        case .retryCount: "retry_count"
        case .traceID: "trace_id"
        case .tags: "tags"
        case .capturedRequest: "captured_request"
        case .capturedResponse: "captured_response"
        case .predecessorLogID: "predecessor_log_id"
        case .nextOffset: "next_offset"
        case .lane: "lane"
        }
    }
}
