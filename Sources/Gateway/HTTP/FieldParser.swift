/// What a parser can say after looking at the bytes so far.
package enum ParseStep: Equatable, Sendable {
    /// More bytes are needed.
    case more
    /// One more field was parsed; it is the last of `fields`.
    case field
    /// The section is complete; so many bytes from the first byte of the head.
    case end(Int)
    /// The bytes are refused.
    case rejected(HTTPRejection)
}

/// Parses header or trailer lines, incrementally and in place.
///
/// Every byte is looked at once, wherever the input is split, so that the verdict does not depend
/// on how the bytes arrive. Positions count from the first byte of the head, which therefore must
/// stay where it is until the head is complete. Owner: the connection.
package struct FieldParser {
    /// What comes next; each state lists its successors.
    private enum State: UInt8 {
        /// At the beginning of a line: `name`, `finalLineFeed`.
        case lineStart
        /// Inside a name: `beforeValue`.
        case name
        /// In white space before a value: `value`, `lineFeed`.
        case beforeValue
        /// Inside a value: `lineFeed`.
        case value
        /// Behind the CR of a field's line: `lineStart`.
        case lineFeed
        /// Behind the CR of the empty line: the end.
        case finalLineFeed
    }

    /// The fields so far; storage is kept from head to head.
    package var fields: [HeadField] = []

    /// Position of the next byte to look at.
    package var position = 0

    private var state = State.lineStart
    private var nameStart = 0
    private var nameEnd = 0
    private var valueStart = 0
    /// Byte after the last one of the value that is not white space.
    private var valueEnd = 0

    /// A parser for a section that begins at byte 0.
    package init() {}

    /// Starts over with a section that begins at `position`.
    package mutating func reset(at position: Int) {
        self.position = position
        state = .lineStart
        fields.removeAll(keepingCapacity: true)
    }

    /// Parses up to the end of the next field or of the section.
    ///
    /// - Parameters:
    ///   - bytes: everything from the first byte of the head.
    ///   - bytesMax: position before which the section must end.
    ///   - fieldsMax: how many fields there may be.
    package mutating func next(_ bytes: Span<UInt8>, bytesMax: Int, fieldsMax: Int) -> ParseStep {
        let visible = min(bytes.count, bytesMax)
        var at = position
        defer { position = at }
        while at < visible {
            switch state {
            case .lineStart:
                let byte = bytes[at]
                if byte == ByteClass.carriageReturn {
                    at += 1
                    state = .finalLineFeed
                } else if ByteClass.isToken(byte) {
                    if fields.count >= fieldsMax { return .rejected(.tooManyFields) }
                    nameStart = at
                    at += 1
                    state = .name
                } else if byte == ByteClass.lineFeed {
                    return .rejected(.badLineEnd)
                } else {
                    let isBlank = byte == ByteClass.space || byte == ByteClass.tab
                    return .rejected(isBlank ? .foldedField : .badFieldName)
                }
            case .name:
                while at < visible, ByteClass.isToken(bytes[at]) { at += 1 }
                guard at < visible else { return exhausted(bytes, bytesMax) }
                guard bytes[at] == ByteClass.colon else { return .rejected(.badFieldName) }
                nameEnd = at
                at += 1
                state = .beforeValue
            case .beforeValue:
                let byte = bytes[at]
                if byte == ByteClass.space || byte == ByteClass.tab {
                    at += 1
                } else if byte == ByteClass.carriageReturn {
                    valueStart = at
                    valueEnd = at
                    at += 1
                    state = .lineFeed
                } else {
                    valueStart = at
                    valueEnd = at
                    state = .value
                }
            case .value:
                while at < visible {
                    let byte = bytes[at]
                    if byte > ByteClass.space, byte != 0x7F {
                        at += 1
                        valueEnd = at
                    } else if byte == ByteClass.space || byte == ByteClass.tab {
                        at += 1
                    } else {
                        break
                    }
                }
                guard at < visible else { return exhausted(bytes, bytesMax) }
                guard bytes[at] == ByteClass.carriageReturn else {
                    let isEnd = bytes[at] == ByteClass.lineFeed
                    return .rejected(isEnd ? .badLineEnd : .badFieldValue)
                }
                at += 1
                state = .lineFeed
            case .lineFeed:
                guard bytes[at] == ByteClass.lineFeed else { return .rejected(.badLineEnd) }
                at += 1
                state = .lineStart
                fields.append(
                    HeadField(
                        name: Place(nameStart, nameEnd),
                        value: Place(valueStart, valueEnd),
                        lineEnd: UInt32(truncatingIfNeeded: at),
                        known: KnownField(bytes.extracting(nameStart..<nameEnd))
                    )
                )
                return .field
            case .finalLineFeed:
                guard bytes[at] == ByteClass.lineFeed else { return .rejected(.badLineEnd) }
                at += 1
                state = .lineStart
                return .end(at)
            }
        }
        return exhausted(bytes, bytesMax)
    }

    /// What to say when all visible bytes are used up.
    private func exhausted(_ bytes: Span<UInt8>, _ bytesMax: Int) -> ParseStep {
        bytes.count > bytesMax ? .rejected(.headTooLong) : .more
    }
}
