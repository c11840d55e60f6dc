/// What the gateway needs to know about an upstream's response.
package struct ResponseHead: Equatable, Sendable {
    /// The status code.
    package var status = 0
    /// The reason phrase.
    package var reason = Place.none
    /// 0 or 1.
    package var minorVersion: UInt8 = 1
    /// How the body ends, by the fields alone; see `framing(for:)`.
    package var framing = BodyFraming.untilClose
    /// Whether the upstream keeps the connection.
    package var keepsAlive = true
    /// Whether `Connection` names fields that must not be forwarded.
    package var hasConnectionOptions = false
    /// Length of the head in bytes.
    package var length = 0

    /// Whether the response is followed by the final one.
    package var isInformational: Bool { status < 200 }

    /// How the body ends, given the request's method.
    package func framing(isHead: Bool) -> BodyFraming {
        isHead || status < 200 || status == 204 || status == 304 ? .none : framing
    }
}

/// Parses response heads, incrementally and in place; see `FieldParser` for its rules.
package struct ResponseParser {
    /// What has been found so far; complete after `.end`.
    package private(set) var head = ResponseHead()

    /// The header fields.
    package var fieldParser = FieldParser()

    /// Whether the status line is complete.
    private var isInFields = false
    private var hasLength = false
    private var hasCoding = false
    private var saysClose = false
    private var saysKeepAlive = false

    /// A parser at the beginning of a head.
    package init() {}

    /// Starts over with the next head, at byte 0.
    package mutating func reset() {
        head = ResponseHead()
        fieldParser.reset(at: 0)
        isInFields = false
        hasLength = false
        hasCoding = false
        saysClose = false
        saysKeepAlive = false
    }

    /// The fields of the head so far.
    package var fields: [HeadField] { fieldParser.fields }

    /// Parses as far as the bytes go.
    ///
    /// - Returns: `more`, `end` or `rejected`.
    package mutating func parse(_ bytes: Span<UInt8>, _ limits: GatewayLimits) -> ParseStep {
        if !isInFields {
            let step = parseStatusLine(bytes, limits.headBytesMax)
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
                if let rejection = conclude() { return .rejected(rejection) }
                return step
            case .more, .rejected:
                return step
            }
        }
    }

    /// Parses `HTTP/1.x 200 reason`; `.field` means that it is complete.
    private mutating func parseStatusLine(_ bytes: Span<UInt8>, _ bytesMax: Int) -> ParseStep {
        let visible = min(bytes.count, bytesMax)
        var at = fieldParser.position
        defer { fieldParser.position = at }
        while at < visible {
            let byte = bytes[at]
            switch at {
            case 0...6:
                // "HTTP/1." as a number, first byte lowest.
                let expected = UInt8(
                    truncatingIfNeeded: 0x2E_312F_5054_5448 as UInt64 >> UInt64(at * 8)
                )
                guard byte == expected else { return .rejected(.badStartLine) }
            case 7:
                guard byte == 0x30 || byte == 0x31 else { return .rejected(.badVersion) }
                head.minorVersion = byte - 0x30
            case 8:
                guard byte == ByteClass.space else { return .rejected(.badStartLine) }
            case 9...11:
                guard ByteClass.isDigit(byte) else { return .rejected(.badStartLine) }
                head.status = head.status * 10 + Int(byte - 0x30)
            default:
                // A missing space before an empty reason is common, and harmless.
                if at == 12 {
                    guard head.status >= 100, head.status <= 599,
                        byte == ByteClass.space || byte == ByteClass.carriageReturn
                    else { return .rejected(.badStartLine) }
                }
                if bytes[at - 1] == ByteClass.carriageReturn {
                    guard byte == ByteClass.lineFeed else { return .rejected(.badLineEnd) }
                    head.reason = at > 14 ? Place(13, at - 1) : Place(0, 0)
                    at += 1
                    isInFields = true
                    return .field
                }
                guard byte == ByteClass.carriageReturn || ByteClass.isFieldValue(byte) else {
                    return .rejected(byte == ByteClass.lineFeed ? .badLineEnd : .badStartLine)
                }
            }
            at += 1
        }
        return bytes.count > bytesMax ? .rejected(.headTooLong) : .more
    }

    /// Takes in a field that means something here.
    private mutating func note(_ field: HeadField, _ bytes: Span<UInt8>) -> HTTPRejection? {
        let value = bytes.extracting(field.value.range)
        switch field.known {
        case .contentLength:
            if hasLength { return .duplicateContentLength }
            if hasCoding { return .lengthAndCoding }
            hasLength = true
            guard let length = FieldValue.decimal(value) else { return .badContentLength }
            head.framing = .length(length)
        case .transferEncoding:
            if hasLength { return .lengthAndCoding }
            guard !hasCoding, head.minorVersion == 1, equalsIgnoringCase(value, "chunked") else {
                return .badTransferEncoding
            }
            hasCoding = true
            head.framing = .chunked
        case .connection:
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
        default:
            break
        }
        return nil
    }

    /// Checks what can only be said about the whole head.
    private mutating func conclude() -> HTTPRejection? {
        head.keepsAlive = head.minorVersion == 1 ? !saysClose : saysKeepAlive && !saysClose
        // No upgrade is ever asked for, so nobody may switch protocols.
        if head.status == 101 { return .badResponse }
        if hasCoding, head.status < 200 || head.status == 204 { return .badResponse }
        if case .length(let length) = head.framing, length > 0,
            head.status < 200 || head.status == 204
        {
            return .badResponse
        }
        return nil
    }
}
