package import Records

/// What the gateway needs to know about a request; positions as in `Place`.
package struct RequestHead: Equatable, Sendable {
    /// The method.
    package var method = Place.none
    /// The method, if it is one that is recorded by name.
    package var knownMethod = RequestMethod.other
    /// The path; of `*` and of an absolute target without a path, one byte or none.
    package var path = Place.none
    /// The query without its question mark.
    package var query = Place.none
    /// Whether there is a question mark.
    package var hasQuery = false
    /// The host, from an absolute target or from `Host`.
    package var authority = Place.none
    /// 0 or 1.
    package var minorVersion: UInt8 = 1
    /// How the body ends.
    package var framing = BodyFraming.none
    /// Whether the client keeps the connection for another request.
    package var keepsAlive = true
    /// Whether the client waits for `100 Continue`.
    package var expectsContinue = false
    /// Whether there is an expectation that nobody can meet.
    package var hasUnknownExpectation = false
    /// Whether the client takes trailer fields.
    package var takesTrailers = false
    /// Whether `Connection` names fields that must not be forwarded.
    package var hasConnectionOptions = false
    /// Whether the target is `*`.
    package var isAsterisk = false
    /// `User-Agent`, the first if there are several.
    package var userAgent = Place.none
    /// `traceparent`; none if there are several.
    package var traceparent = Place.none
    /// How many `traceparent` fields there are.
    package var traceparentCount: UInt8 = 0
    /// How many `X-Forwarded-For` fields there are.
    package var forwardedForCount: UInt8 = 0
    /// `X-Forwarded-Proto`, the last if there are several.
    package var forwardedProto = Place.none
    /// Length of the head in bytes.
    package var length = 0
}

/// Parses request heads, incrementally and in place; see `FieldParser` for its rules.
package struct RequestParser {
    /// What comes next; each state lists its successors.
    private enum State: UInt8 {
        /// Before the request line: `method`, `skippedLineFeed`.
        case start
        /// Behind the CR of an empty line before the request: `method`.
        case skippedLineFeed
        /// Inside the method: `target`.
        case method
        /// Inside the target: `version`.
        case target
        /// Inside `HTTP/1.x` and the line's end: `fields`.
        case version
        /// In the header fields: the end.
        case fields
    }

    /// What has been found so far; complete after `.end`.
    package private(set) var head = RequestHead()

    /// The header fields.
    package var fieldParser = FieldParser()

    private var state = State.start
    private var hasSkippedLine = false
    private var lineStart = 0
    private var targetStart = 0
    private var versionStart = 0
    private var hostCount = 0
    /// Whether `Content-Length` is there, even if it is 0.
    package private(set) var hasLength = false
    private var hasCoding = false
    private var saysClose = false
    private var saysKeepAlive = false

    /// A parser at the beginning of a head.
    package init() {}

    /// Starts over with the next head, at byte 0.
    package mutating func reset() {
        head = RequestHead()
        fieldParser.reset(at: 0)
        state = .start
        hasSkippedLine = false
        hostCount = 0
        hasLength = false
        hasCoding = false
        saysClose = false
        saysKeepAlive = false
    }

    /// Whether a byte of a request line has been seen.
    package var hasBegun: Bool { state != .start && state != .skippedLineFeed }

    /// The fields of the head so far.
    package var fields: [HeadField] { fieldParser.fields }

    /// Parses as far as the bytes go.
    ///
    /// - Parameters:
    ///   - bytes: everything from the first byte of the head.
    ///   - limits: sizes beyond which the head is refused.
    /// - Returns: `more`, `end` or `rejected`.
    package mutating func parse(_ bytes: Span<UInt8>, _ limits: GatewayLimits) -> ParseStep {
        if state != .fields {
            let step = parseRequestLine(bytes, limits)
            guard step == .field else { return step }
        }
        while true {
            let step = fieldParser.next(
                bytes,
                bytesMax: limits.headBytesMax,
                fieldsMax: limits.headersMax
            )
            switch step {
            case .field:
                let field = fieldParser.fields[fieldParser.fields.count - 1]
                if field.known != .other, let rejection = note(field, bytes) {
                    return .rejected(rejection)
                }
            case .end(let length):
                head.length = length
                if let rejection = conclude(bytes) { return .rejected(rejection) }
                return step
            case .more, .rejected:
                return step
            }
        }
    }

    /// Parses the request line; `.field` means that it is complete.
    private mutating func parseRequestLine(
        _ bytes: Span<UInt8>,
        _ limits: GatewayLimits
    ) -> ParseStep {
        let bytesMax = min(limits.requestLineBytesMax, limits.headBytesMax)
        let visible = min(bytes.count, bytesMax)
        var at = fieldParser.position
        defer { fieldParser.position = at }
        while at < visible {
            switch state {
            case .start:
                let byte = bytes[at]
                if ByteClass.isToken(byte) {
                    lineStart = at
                    state = .method
                } else if byte == ByteClass.carriageReturn, !hasSkippedLine {
                    at += 1
                    hasSkippedLine = true
                    state = .skippedLineFeed
                } else {
                    return .rejected(.badStartLine)
                }
            case .skippedLineFeed:
                guard bytes[at] == ByteClass.lineFeed else { return .rejected(.badLineEnd) }
                at += 1
                state = .start
            case .method:
                while at < visible, ByteClass.isToken(bytes[at]) { at += 1 }
                // Longest registered method: 17 bytes (IANA); chosen: twice that.
                if at - lineStart > 34 { return .rejected(.badStartLine) }
                guard at < visible else { break }
                guard bytes[at] == ByteClass.space else { return .rejected(.badStartLine) }
                head.method = Place(lineStart, at)
                head.knownMethod = RequestMethod(bytes.extracting(lineStart..<at))
                at += 1
                targetStart = at
                state = .target
            case .target:
                while at < visible, ByteClass.isTarget(bytes[at]) { at += 1 }
                guard at < visible else { break }
                guard bytes[at] == ByteClass.space, at > targetStart else {
                    return .rejected(.badStartLine)
                }
                if let rejection = noteTarget(bytes, Place(targetStart, at)) {
                    return .rejected(rejection)
                }
                at += 1
                versionStart = at
                state = .version
            case .version:
                if let rejection = noteVersion(bytes[at], at - versionStart) {
                    return .rejected(rejection)
                }
                at += 1
                if at - versionStart == 10 {
                    state = .fields
                    return .field
                }
            case .fields:
                return .field
            }
        }
        guard bytes.count > bytesMax else { return .more }
        return .rejected(.requestLineTooLong)
    }

    /// Checks one byte of `HTTP/1.1` and the line's end.
    private mutating func noteVersion(_ byte: UInt8, _ index: Int) -> HTTPRejection? {
        switch index {
        case 0, 1, 2, 3, 4:
            // "HTTP/" as a number, first byte lowest.
            let expected = UInt8(truncatingIfNeeded: 0x2F_5054_5448 as UInt64 >> UInt64(index * 8))
            return byte == expected ? nil : .badStartLine
        case 5:
            if byte == 0x31 { return nil }
            return ByteClass.isDigit(byte) ? .badVersion : .badStartLine
        case 6: return byte == 0x2E ? nil : .badStartLine
        case 7:
            guard ByteClass.isDigit(byte) else { return .badStartLine }
            guard byte <= 0x31 else { return .badVersion }
            head.minorVersion = byte - 0x30
            return nil
        case 8:
            if byte == ByteClass.carriageReturn { return nil }
            return byte == ByteClass.lineFeed ? .badLineEnd : .badStartLine
        default: return byte == ByteClass.lineFeed ? nil : .badLineEnd
        }
    }

    /// Takes the request target apart: origin form, absolute form or `*`.
    private mutating func noteTarget(_ bytes: Span<UInt8>, _ target: Place) -> HTTPRejection? {
        var start = Int(target.start)
        let end = Int(target.end)
        if bytes[start] == 0x2A, target.count == 1, head.knownMethod == .options {
            head.isAsterisk = true
            head.path = target
            return nil
        }
        if bytes[start] != 0x2F {
            // The absolute form, "http://host[:port]/path", as sent to proxies.
            guard target.count > 7, head.knownMethod != .connect,
                equalsIgnoringCase(bytes.extracting(start..<(start + 7)), "http://")
            else { return .badStartLine }
            start += 7
            let authorityStart = start
            while start < end, bytes[start] != 0x2F, bytes[start] != 0x3F { start += 1 }
            guard HostSyntax.isValid(bytes.extracting(authorityStart..<start)) else {
                return .badHost
            }
            head.authority = Place(authorityStart, start)
        }
        var pathEnd = start
        while pathEnd < end, bytes[pathEnd] != 0x3F { pathEnd += 1 }
        head.path = Place(start, pathEnd)
        if pathEnd < end {
            head.hasQuery = true
            head.query = Place(pathEnd + 1, end)
        }
        return PathSyntax.hasDotSegment(bytes.extracting(start..<pathEnd)) ? .dotSegment : nil
    }

    /// Takes in a field that means something here.
    private mutating func note(_ field: HeadField, _ bytes: Span<UInt8>) -> HTTPRejection? {
        let value = bytes.extracting(field.value.range)
        switch field.known {
        case .host:
            hostCount += 1
            if hostCount > 1 { return .duplicateHost }
            guard HostSyntax.isValid(value) else { return .badHost }
            if head.authority.isEmpty { head.authority = field.value }
        case .contentLength:
            if hasLength { return .duplicateContentLength }
            if hasCoding { return .lengthAndCoding }
            hasLength = true
            guard let length = FieldValue.decimal(value) else { return .badContentLength }
            head.framing = length == 0 ? .none : .length(length)
        case .transferEncoding:
            if hasLength { return .lengthAndCoding }
            guard !hasCoding, head.minorVersion == 1, equalsIgnoringCase(value, "chunked") else {
                return .badTransferEncoding
            }
            hasCoding = true
            head.framing = .chunked
        case .connection:
            noteConnection(value)
        case .te:
            if FieldValue.hasListItem(value, "trailers") { head.takesTrailers = true }
        case .expect:
            if equalsIgnoringCase(value, "100-continue") {
                head.expectsContinue = true
            } else {
                head.hasUnknownExpectation = true
            }
        case .userAgent:
            if head.userAgent.isEmpty { head.userAgent = field.value }
        case .traceparent:
            head.traceparentCount = min(head.traceparentCount + 1, 2)
            head.traceparent = head.traceparentCount == 1 ? field.value : .none
        case .forwardedFor:
            head.forwardedForCount = min(head.forwardedForCount + 1, 250)
        case .forwardedProto:
            head.forwardedProto = field.value
        default:
            break
        }
        return nil
    }

    /// Takes in a `Connection` field.
    private mutating func noteConnection(_ value: Span<UInt8>) {
        var items = FieldValue.ListItems(value)
        while let item = items.next(value) {
            let name = value.extracting(item.range)
            if equalsIgnoringCase(name, "close") {
                saysClose = true
            } else if equalsIgnoringCase(name, "keep-alive") {
                saysKeepAlive = true
            } else {
                head.hasConnectionOptions = true
            }
        }
    }

    /// Checks what can only be said about the whole head.
    private mutating func conclude(_ bytes: Span<UInt8>) -> HTTPRejection? {
        if hostCount == 0, head.minorVersion == 1 { return .missingHost }
        head.keepsAlive = head.minorVersion == 1 ? !saysClose : saysKeepAlive && !saysClose
        if head.minorVersion == 0 { head.expectsContinue = false }
        if head.framing == .none { head.expectsContinue = false }
        return nil
    }
}
