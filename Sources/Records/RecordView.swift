/// A decoded record: scalars, and where the text and bytes lie in the span that was decoded.
///
/// The hot path of the fold: one pass over the bytes, nothing allocated, UTF-8 not checked.
package struct RecordView: BitwiseCopyable, Sendable {
    /// The newest schema that this version understands.
    package static var schemaVersionMax: UInt32 { 1 }

    /// The key of the tags by which a log's first record declares the organisations that the log's
    /// requests may belong to, one tag for each.
    package static var orgsTag: String { "orgs" }

    /// `schema_version`; 0 when absent.
    package var schemaVersion: UInt32 = 0
    /// Where `log_id` is; empty when absent.
    package var logID = ByteRange()
    /// `offset`; 0 when absent.
    package var offset: UInt64 = 0
    /// `kind`; unspecified when absent or unknown.
    package var kind: RecordKind = .unspecified
    /// `completed_at`; 0 when absent.
    package var completedAt: Int64 = 0
    /// `outcome`; unspecified when absent or unknown.
    package var outcome: Outcome = .unspecified
    /// Where `org` is; empty when absent.
    package var org = ByteRange()
    /// Where `api` is; empty when absent.
    package var api = ByteRange()
    /// Where `route` is; empty when absent.
    package var route = ByteRange()
    /// Where `method` is; empty when absent.
    package var method = ByteRange()
    /// `status`; nil when not known.
    package var status: UInt32?
    /// `duration_us`; nil when not known.
    package var durationUS: UInt64?
    /// `upstream_duration_us`; nil when not known.
    package var upstreamDurationUS: UInt64?
    /// `response_bytes`; 0 when absent.
    package var responseBytes: UInt64 = 0
    /// Where `key_id` is; empty when absent.
    package var keyID = ByteRange()
    /// Where `request_id` is; empty when absent.
    package var requestID = ByteRange()
    /// `started_at`; 0 when absent.
    package var startedAt: Int64 = 0
    /// `request_bytes`; 0 when absent.
    package var requestBytes: UInt64 = 0
    /// Where `api_version` is; empty when absent.
    package var apiVersion = ByteRange()
    /// Where `application` is; empty when absent.
    package var application = ByteRange()
    /// Where `developer` is; empty when absent.
    package var developer = ByteRange()
    /// Where `plan` is; empty when absent.
    package var plan = ByteRange()
    /// Where `node` is; empty when absent.
    package var node = ByteRange()
    /// Where `region` is; empty when absent.
    package var region = ByteRange()
    /// Where `client_ip` is; empty when absent.
    package var clientIP = ByteRange()
    /// Where `user_agent` is; empty when absent.
    package var userAgent = ByteRange()
    /// Where `user_agent_family` is; empty when absent.
    package var userAgentFamily = ByteRange()
    /// Where `platform` is; empty when absent.
    package var platform = ByteRange()
    /// Where `country` is; empty when absent.
    package var country = ByteRange()
    /// Where `scheme` is; empty when absent.
    package var scheme = ByteRange()
    /// Where `host` is; empty when absent.
    package var host = ByteRange()
    /// Where `path` is; empty when absent.
    package var path = ByteRange()
    /// Where `query` is; empty when absent.
    package var query = ByteRange()
    /// `upstream_status`; nil when not known.
    package var upstreamStatus: UInt32?
    /// Where `upstream_address` is; empty when absent.
    package var upstreamAddress = ByteRange()
    /// `upstream_connect_us`; nil when not known.
    package var upstreamConnectUS: UInt64?
    /// `upstream_first_byte_us`; nil when not known.
    package var upstreamFirstByteUS: UInt64?
    /// `gateway_duration_us`; nil when not known.
    package var gatewayDurationUS: UInt64?
    /// Where `cache_result` is; empty when absent.
    package var cacheResult = ByteRange()
    /// `retry_count`; 0 when absent.
    package var retryCount: UInt32 = 0
    /// Where `trace_id` is; empty when absent.
    package var traceID = ByteRange()
    /// How many tags there are; `forEachTag` reads them.
    package var tagCount: UInt32 = 0
    /// The byte position of the first tag's field.
    package var tagsStart: UInt32 = 0
    /// Where `captured_request` (its last occurrence) is; empty when absent.
    package var capturedRequest = ByteRange()
    /// Where `captured_response` (its last occurrence) is; empty when absent.
    package var capturedResponse = ByteRange()
    /// Where `predecessor_log_id` is; empty when absent.
    package var predecessorLogID = ByteRange()
    /// `next_offset`; nil when not known.
    package var nextOffset: UInt64?
    /// `lane`; 0 when absent.
    package var lane: UInt32 = 0

    /// A view of nothing: every field absent.
    @inline(__always)
    package init() {}

    /// The identity that the record carries; nil when it carries no 16 byte log id.
    package func identity(in bytes: RawSpan) -> (log: LogID, offset: Offset)? {
        guard let log = LogID(bytes: bytes.octets.extracting(logID.range)) else { return nil }
        return (log, Offset(offset))
    }

    /// The text at a range of the decoded bytes; what is not UTF-8 becomes U+FFFD.
    package func text(_ range: ByteRange, in bytes: RawSpan) -> String {
        bytes.octets.extracting(range.range).text()
    }

    /// Calls the body with the ranges of each tag's key and value, in the order of the wire.
    package func forEachTag(
        in bytes: RawSpan,
        _ body: (_ key: ByteRange, _ value: ByteRange) -> Void
    ) {
        guard tagCount > 0 else { return }
        let octets = bytes.octets
        var reader = WireReader(octets.extracting(Int(tagsStart)..<octets.count))
        let wanted = RecordField.tags.rawValue << 3 | 2
        var remaining = tagCount
        while remaining > 0, !reader.isAtEnd {
            guard let tag = try? reader.tag() else { return }
            guard tag == wanted else {
                guard (try? reader.skip(tag)) != nil else { return }
                continue
            }
            guard var range = try? reader.delimited() else { return }
            range.start += tagsStart
            let (key, value) = Self.tagParts(octets, range)
            body(key, value)
            remaining -= 1
        }
    }

    /// The value of the first tag with a key; nil when there is none.
    package func tag(_ key: String, in bytes: RawSpan) -> String? {
        var found: String?
        forEachTag(in: bytes) { keyRange, valueRange in
            if found == nil, text(keyRange, in: bytes) == key {
                found = text(valueRange, in: bytes)
            }
        }
        return found
    }

    /// Where key and value of an encoded tag lie.
    static func tagParts(_ octets: Span<UInt8>, _ range: ByteRange) -> (ByteRange, ByteRange) {
        var reader = WireReader(octets.extracting(range.range))
        var key = ByteRange()
        var value = ByteRange()
        while !reader.isAtEnd {
            guard let tag = try? reader.tag() else { break }
            switch tag {
            case 1 << 3 | 2:
                guard let part = try? reader.delimited() else { return (key, value) }
                key = ByteRange(start: part.start + range.start, count: part.count)
            case 2 << 3 | 2:
                guard let part = try? reader.delimited() else { return (key, value) }
                value = ByteRange(start: part.start + range.start, count: part.count)
            default:
                guard (try? reader.skip(tag)) != nil else { return (key, value) }
            }
        }
        return (key, value)
    }
}
