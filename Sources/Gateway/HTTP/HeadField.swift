/// Where a piece of a head lies: byte positions from the first byte of the head, half-open.
package struct Place: BitwiseCopyable, Equatable, Sendable {
    /// First byte.
    package var start: UInt32
    /// Byte after the last.
    package var end: UInt32

    /// A place from positions; heads are far smaller than 4 GiB.
    @inline(__always)
    package init(_ start: Int, _ end: Int) {
        self.start = UInt32(truncatingIfNeeded: start)
        self.end = UInt32(truncatingIfNeeded: end)
    }

    /// No bytes at all.
    package static var none: Place { Place(0, 0) }

    /// How many bytes.
    package var count: Int { Int(end) - Int(start) }

    /// Whether there are no bytes.
    package var isEmpty: Bool { start == end }

    /// The positions as a range.
    package var range: Range<Int> { Int(start)..<Int(end) }
}

/// One header or trailer field of a head.
package struct HeadField: BitwiseCopyable, Equatable, Sendable {
    /// The name.
    package var name: Place
    /// The value without white space around it.
    package var value: Place
    /// The byte after the line's end.
    package var lineEnd: UInt32
    /// What the name means.
    package var known: KnownField

    /// The whole line, its end included.
    package var line: Place { Place(Int(name.start), Int(lineEnd)) }
}

/// Why a head, a body's framing or a response cannot be accepted.
package enum HTTPRejection: UInt8, CaseIterable, Error, Sendable {
    /// The request or status line does not follow the grammar.
    case badStartLine
    /// The version is not HTTP/1.0 or HTTP/1.1.
    case badVersion
    /// The request line is longer than allowed.
    case requestLineTooLong
    /// The head is longer than allowed.
    case headTooLong
    /// There are more fields than allowed.
    case tooManyFields
    /// A line ends without CR LF, or one of them stands alone.
    case badLineEnd
    /// A line begins with white space (folding is obsolete).
    case foldedField
    /// A field name is empty or contains other than token characters.
    case badFieldName
    /// A field value contains control characters.
    case badFieldValue
    /// An HTTP/1.1 request without `Host`.
    case missingHost
    /// `Host` twice.
    case duplicateHost
    /// `Host` or the target's authority is no host with an optional port.
    case badHost
    /// `Content-Length` is not one decimal number.
    case badContentLength
    /// `Content-Length` twice, even if equal.
    case duplicateContentLength
    /// `Content-Length` and `Transfer-Encoding` together.
    case lengthAndCoding
    /// `Transfer-Encoding` other than exactly `chunked`, once, in HTTP/1.1.
    case badTransferEncoding
    /// Chunked framing that does not follow the grammar.
    case badChunk
    /// Trailer fields are longer than allowed.
    case trailersTooLong
    /// The path contains `.` or `..` segments, which servers would resolve differently.
    case dotSegment
    /// A body larger than allowed.
    case bodyTooLarge
    /// A response that no request allows, such as 101 or a length on 204's body.
    case badResponse

    /// The status that a client gets for it.
    package var status: Int {
        switch self {
        case .badVersion: 505
        case .requestLineTooLong: 414
        case .headTooLong, .tooManyFields, .trailersTooLong: 431
        case .bodyTooLarge: 413
        default: 400
        }
    }
}

/// How the end of a body is recognised.
package enum BodyFraming: Equatable, Sendable {
    /// There is no body.
    case none
    /// So many bytes.
    case length(UInt64)
    /// Chunks up to one of size 0.
    case chunked
    /// Everything until the connection is closed; responses only.
    case untilClose
}
